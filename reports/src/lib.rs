//! Result files and the pages rendered from them.
