"""What calls the video tool for more than one clip, or on more machines: the queue, Ray.

Importing this package loads nothing.
"""
