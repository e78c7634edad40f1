//! SOCKS5 and HTTP CONNECT over zMesh circuits
