"""Arrays in an .npz file that may be anything: damaged, foreign, hostile. Never a pickle."""

import struct
import zlib
from io import BytesIO
from lzma import LZMAError
from pathlib import Path
from zipfile import BadZipFile, ZipFile

import numpy as np

from impls.interface import Array

MOST_BYTES = 1 << 31  # of all arrays together: a small file may say that it holds any number of zeros
BROKEN = (  # what zipfile and NumPy raise for a file that is not what it seems
    BadZipFile,
    EOFError,
    LZMAError,
    LookupError,
    MemoryError,
    NotImplementedError,
    OverflowError,
    RuntimeError,
    struct.error,
    SyntaxError,
    TypeError,
    zlib.error,
)


def arrays(content: bytes | Path) -> dict[str, Array]:
    """Return the arrays in an .npz file by name. Raises ValueError for anything else, OSError if it cannot be read."""
    try:
        with ZipFile(BytesIO(content) if isinstance(content, bytes) else content) as archive:
            size = sum(member.file_size for member in archive.infolist())
            if size > MOST_BYTES:
                raise ValueError(f"expected at most {MOST_BYTES:,} bytes of arrays, found {size:,}")
            return {
                member.filename.removesuffix(".npy"): np.lib.format.read_array(
                    BytesIO(archive.read(member)), allow_pickle=False
                )
                for member in archive.infolist()
            }
    except BROKEN as error:
        raise ValueError(str(error) or type(error).__name__) from error
