"""COMPRESS=DEFLATE (RFC 4978): what is written is packed, what is read is unpacked in pieces.

Never more than PIECE octets come out at once, so a small packet cannot become a large
memory; one that goes on and on is a bomb, and refused (RFC 4978 names no limit, zlib
allows 1,000 to 1). Each packet is flushed, lest the server should wait for its end.
"""

import zlib

from fetchd.errors import RemoteProtocolError

PIECE = 1 << 20  # octets
MAX_RATIO = 100  # of octets that come out to those that went in; mail has 2 to 10
FREE = 128 << 20  # octets beyond that ratio: an attachment may be nothing but zeros


class Deflate:
    """Both directions of one connection; `rest` is what came behind the OK."""

    def __init__(self, rest: bytes) -> None:
        self.more = bool(rest)  # there may be more where the last piece came from
        self._inflate = zlib.decompressobj(-zlib.MAX_WBITS)
        self._deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        self._packed = rest
        self._excess = 0  # octets beyond MAX_RATIO

    def pack(self, octets: bytes) -> bytes:
        """As they go over the line."""
        return self._deflate.compress(octets) + self._deflate.flush(zlib.Z_SYNC_FLUSH)

    def unpack(self, packed: bytes = b"") -> bytes:
        """The next piece of what came; perhaps nothing, if that was too little."""
        try:
            piece = self._inflate.decompress(self._packed + packed, PIECE)
        except zlib.error as error:
            raise RemoteProtocolError(f"the compressed stream is broken: {error}") from error
        if self._inflate.eof:
            raise RemoteProtocolError("the compressed stream ends before the session")
        self._packed = self._inflate.unconsumed_tail
        self.more = bool(self._packed) or len(piece) == PIECE
        self._excess = max(0, self._excess + len(piece) - MAX_RATIO * len(packed))
        if self._excess > FREE:
            raise RemoteProtocolError("the compressed stream inflates without end")
        return piece
