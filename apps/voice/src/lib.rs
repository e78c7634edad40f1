//! Private voice calls over zMesh circuits
