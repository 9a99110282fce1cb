//! The only unsafe code: the host's ABI.
