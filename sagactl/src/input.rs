//! What commands are given to read: a file, or standard input.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::Path,
};

/// The file at `path`, or standard input where that is `-`.
pub(crate) fn open(path: &Path) -> io::Result<Box<dyn Read>> {
    if path == Path::new("-") {
        return Ok(Box::new(io::stdin()));
    }
    if fs::metadata(path).is_ok_and(|file| file.is_dir()) {
        return Err(io::Error::other("it is a directory"));
    }
    Ok(Box::new(File::open(path)?))
}
