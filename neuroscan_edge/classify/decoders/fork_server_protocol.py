"""What a run's process orders from the process that decoder processes are forked from."""

import struct

READY = b"R"
"""Said once, when the imports are done; anything else is the name of the error that there was."""

START, BURY, ABANDON, EXPECT_DICOM = b"S", b"B", b"A", b"D"
"""Start a process, with a socket for it; say how one ended; drop one; import for DICOM files."""

ORDER = struct.Struct("<ci")
"""An order, and the number of the process that it is about."""

ANSWER = struct.Struct("<i")
"""To `START` the new process' number; to `BURY` an exit code, below 0 a signal, 0 unknown."""
