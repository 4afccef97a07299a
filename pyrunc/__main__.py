"""Start: as short as can be, because a script is compiled anew each time.

The installed launcher runs `python -I -S .../pyrunc/__main__.py ARGV0 ARG...`; `python -m pyrunc ARG...`
works too.
"""

import sys

if __spec__ is None:
    _here = __file__.rpartition("/")[0]
    sys.path.insert(0, _here.rpartition("/")[0])
    argv0, words = sys.argv[1], sys.argv[2:]
    _image = getattr(__import__("pyrunc", fromlist=("_image",)), "_image", None)
    if _image is not None:  # the build may have packed the modules into one file, which loads faster
        _image.install(_here)
else:
    argv0, words = "pyrunc", sys.argv[1:]

from pyrunc.cli import entry

entry(argv0, words)
