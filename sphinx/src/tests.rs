//! Tests that look inside; those of the whole protocol stand in `sphinx/tests`.
