"""From files to grey slices: `find_scans` lists what to read, `read_scans` decodes one file."""

from neuroscan_edge.scans.discovery import Discovery, find_scans
from neuroscan_edge.scans.reading import read_scans
from neuroscan_edge.scans.scan import DicomUids, Limits, Provenance, Scan, ScanFault, SourceFacts

__all__ = [
    "DicomUids",
    "Discovery",
    "Limits",
    "Provenance",
    "Scan",
    "ScanFault",
    "SourceFacts",
    "find_scans",
    "read_scans",
]
