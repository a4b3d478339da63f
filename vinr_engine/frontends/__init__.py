"""What calls the video tool for more than one clip: the queue. Importing this package loads nothing."""
