"""What the operating system says of the archive's folder, as a sentence with the remedy."""

import errno
from pathlib import Path

from fetchd.errors import ArchiveError


def archive_error(folder: Path, error: OSError, role: str = "archive") -> ArchiveError:
    """The error to raise `from` this one; `role` is what the folder is."""
    name = f"{role} {folder}"
    match error.errno:
        case errno.ENOSPC:
            trouble = f"The disk of the {name} is full."
            advice = "Free space there, then sync again."
        case errno.EDQUOT:
            trouble = f"The disk quota of the {name} is used up."
            advice = "Free space there or raise the quota, then sync again."
        case errno.EFBIG:
            trouble = f"The {name} may not hold files so large."
            advice = "Raise the limit of file size (ulimit -f) or set a smaller segment_size."
        case errno.EACCES | errno.EPERM:
            trouble = f"The {name} may not be read and written."
            advice = f"Give fetchd's user the folder and all in it: chown -R USER {folder}."
        case errno.EROFS:
            trouble = f"The file system of the {name} is read-only."
            advice = "Mount it for writing, then sync again."
        case errno.ENOENT:
            trouble = f"The {name} cannot be made, or went away."
            advice = f"Create or mount {folder.parent}, then sync again."
        case errno.ENOTDIR | errno.EEXIST | errno.ELOOP:
            trouble = f"Something that is not a folder stands where the {name} should."
            advice = "Move it away, or name another data_dir."
        case _:
            trouble = f"The {name} cannot be used: {error.strerror or error}."
            advice = "Look after the disk (see the system's log), then sync again."
    return ArchiveError(trouble, advice=advice)
