"""One async function per verb: lock, decide, save, record; the caller commits."""
