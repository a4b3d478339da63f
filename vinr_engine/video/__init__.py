"""Clips in and out: decoding, timing, scene cuts, audio, colour, encoding.

`job` says what is asked, `plan` what that comes to for a source, `render` carries it out. Importing this package loads
none of the video libraries.
"""
