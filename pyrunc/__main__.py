"""Start without the image of an installed pyrunc (_image.py): from a checkout, or as `python -m pyrunc ARG...`.

The launcher runs `python -I -S .../pyrunc/__main__.py ARGV0 ARG...` where there is no start.pyc.
"""

import sys

if __spec__ is None:
    _here = __file__.rpartition("/")[0]
    sys.path.insert(0, _here.rpartition("/")[0])
    argv0, words = sys.argv[1], sys.argv[2:]
else:
    argv0, words = "pyrunc", sys.argv[1:]

from pyrunc.cli import entry

entry(argv0, words)
