//! Saving and loading.
//!
//! | bytes | what |
//! |---|---|
//! | 8 | `HCFILTER` |
//! | 4, 4 | version of the format (1), tables |
//! | 8, 8, 8 | seed, capacity, rate (the bits of a 64-bit float) |
//! | 8, 4, 4 | pairs of buckets of the first table, bits of its fingerprints, 1 if saturated |
//! | 8 | what the hash makes of the first 8 bytes under the seed |
//! | 8 a table | slots in use |
//! | | the tables' words, oldest first |
//! | 8 | checksum of all before |
//!
//! Everything is little-endian. A file is taken only if its length is the one that its head asks
//! for, the checksum agrees, and every table holds as many fingerprints as it says, each one that a
//! key can have.

use super::inner::{Inner, TABLES_MAX};
use super::shape::{Base, FIRST_WIDTH_MAX, SLOTS, Shape};
use super::{CAPACITY_MAX, FPR_MAX, FPR_MIN, FilterConfig};
use crate::error::{Error, ErrorKind, Result};
use crate::hash::{KeyHash, random_u64};
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

const MAGIC: &[u8; 8] = b"HCFILTER";
const FORMAT: u32 = 1;
const HEAD: usize = 64;
const HEAD_MAX: usize = HEAD + 8 * TABLES_MAX;
const SUM: usize = 8;
/// Bytes that are read, written and summed at a time.
const BLOCK: usize = 1 << 16;

/// A chain of hashes, block by block.
struct Sum {
    hash: u64,
}

impl Sum {
    fn new() -> Self {
        Self { hash: 1 }
    }

    fn block(&mut self, block: &[u8]) {
        // 0 would draw a random seed.
        self.hash = KeyHash::new(self.hash | 1 << 63).of(block);
    }
}

fn failed(path: &Path, doing: &str, error: &io::Error) -> Error {
    Error::io(format!("{}: {doing}: {error}", path.display()), error)
}

fn corrupt(path: &Path, what: &str) -> Error {
    Error::new(ErrorKind::Corrupt, format!("{}: {what}", path.display()))
}

/// A file beside `path` that is removed unless it takes that place.
struct Beside {
    path: PathBuf,
    file: File,
    done: bool,
}

impl Beside {
    fn create(path: &Path) -> Result<Self> {
        let name = path.file_name().ok_or_else(|| {
            Error::new(ErrorKind::Invalid, format!("path is \"{}\", no file", path.display()))
        })?;
        let mut beside = OsString::from(".");
        beside.push(name);
        beside.push(format!(".{:016x}.tmp", random_u64()));
        let beside = path.with_file_name(beside);
        match OpenOptions::new().write(true).create_new(true).open(&beside) {
            Ok(file) => Ok(Self { path: beside, file, done: false }),
            Err(error) => Err(failed(&beside, "cannot be created", &error)),
        }
    }

    fn replace(mut self, path: &Path) -> Result<()> {
        let renamed = self.file.sync_all().and_then(|()| fs::rename(&self.path, path));
        renamed.map_err(|error| failed(path, "cannot be replaced", &error))?;
        self.done = true;
        // The name itself lasts only when the folder was written; where folders cannot be opened
        // there is nothing more to do.
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        if let Ok(folder) = File::open(folder.unwrap_or(Path::new("."))) {
            folder.sync_all().map_err(|error| failed(path, "cannot be made to last", &error))?;
        }
        Ok(())
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        if !self.done {
            // The failure that is being reported matters more than this one.
            let _ = fs::remove_file(&self.path);
        }
    }
}

pub fn save(filter: &Inner, path: &Path) -> Result<()> {
    let mut beside = Beside::create(path)?;
    let mut sum = Sum::new();
    let mut put = |bytes: &[u8]| {
        for block in bytes.chunks(BLOCK) {
            sum.block(block);
            beside.file.write_all(block)?;
        }
        Ok::<(), io::Error>(())
    };
    let written: io::Result<()> = filter.frozen(|tables, saturated| {
        let mut head = [0; HEAD_MAX];
        let mut at = 0;
        let mut field = |bytes: &[u8]| {
            head[at..at + bytes.len()].copy_from_slice(bytes);
            at += bytes.len();
        };
        field(MAGIC);
        field(&FORMAT.to_le_bytes());
        field(&(tables.len() as u32).to_le_bytes());
        field(&filter.seed.to_le_bytes());
        field(&filter.capacity.to_le_bytes());
        field(&filter.fpr.to_bits().to_le_bytes());
        field(&filter.base.pairs.to_le_bytes());
        field(&filter.base.width.to_le_bytes());
        field(&u32::from(saturated).to_le_bytes());
        field(&filter.hash.of(MAGIC).to_le_bytes());
        for table in tables {
            field(&table.used().to_le_bytes());
        }
        put(&head[..at])?;
        for table in tables {
            // SAFETY: writers wait while this runs.
            put(unsafe { table.bytes() })?;
        }
        Ok(())
    });
    let written = written.and_then(|()| beside.file.write_all(&sum.hash.to_le_bytes()));
    written.map_err(|error| failed(&beside.path, "cannot be written", &error))?;
    beside.replace(path)
}

/// Reads fields in order.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let (first, rest) = self.0.split_first_chunk().unwrap_or((&[0; N], &[]));
        self.0 = rest;
        *first
    }

    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.bytes())
    }

    fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.bytes())
    }
}

pub fn load(path: &Path, config: &FilterConfig) -> Result<Inner> {
    let mut file = File::open(path).map_err(|error| failed(path, "cannot be opened", &error))?;
    let len = file.metadata().map_err(|error| failed(path, "cannot be examined", &error))?.len();
    let short = |error: io::Error| match error.kind() {
        io::ErrorKind::UnexpectedEof => corrupt(path, "the file is cut short"),
        _ => failed(path, "cannot be read", &error),
    };

    let mut head = [0; HEAD_MAX];
    file.read_exact(&mut head[..HEAD]).map_err(short)?;
    let mut fields = Fields(&head[..HEAD]);
    if fields.bytes() != *MAGIC {
        return Err(corrupt(path, "the file is no saved filter"));
    }
    let format = fields.u32();
    if format != FORMAT {
        let what = format!("{}: format {format}; this library knows {FORMAT}", path.display());
        return Err(Error::new(ErrorKind::Unsupported, what));
    }
    let tables = fields.u32();
    let (seed, capacity, fpr) = (fields.u64(), fields.u64(), f64::from_bits(fields.u64()));
    let base = Base { pairs: fields.u64(), width: fields.u32() };
    let saturated = fields.u32();
    let probe = fields.u64();

    // What no saved filter has, before anything is made of it.
    let in_range = (1..=TABLES_MAX as u32).contains(&tables)
        && seed != 0
        && (1..=CAPACITY_MAX).contains(&capacity)
        && (FPR_MIN..=FPR_MAX).contains(&fpr)
        && (1..=CAPACITY_MAX).contains(&base.pairs)
        && (4..=FIRST_WIDTH_MAX).contains(&base.width)
        && saturated <= 1;
    if !in_range {
        return Err(corrupt(path, "the head holds what no filter has"));
    }
    let body = (0..tables)
        .map(|number| {
            let shape = Shape::nth(base, number);
            u128::from(shape.buckets()) * u128::from(SLOTS) * u128::from(shape.width) / 8
        })
        .sum::<u128>();
    if body > u128::from(len) {
        return Err(corrupt(path, "the file is cut short"));
    }
    let bytes = (0..tables).map(|number| Shape::nth(base, number).bytes()).sum::<u64>();
    let head_len = HEAD + 8 * tables as usize;
    if len != head_len as u64 + bytes + SUM as u64 {
        return Err(corrupt(path, "the file is longer or shorter than its head says"));
    }
    agree("capacity", config.capacity, capacity)?;
    agree("hash_seed", config.hash_seed, seed)?;
    if config.fpr != 0.0 && config.fpr.to_bits() != fpr.to_bits() {
        return Err(disagree("fpr", &config.fpr, &fpr));
    }

    file.read_exact(&mut head[HEAD..head_len]).map_err(short)?;
    let mut sum = Sum::new();
    sum.block(&head[..head_len]);
    let mut used = Fields(&head[HEAD..head_len]);
    let made = FilterConfig { capacity, fpr, hash_seed: seed, pool: config.pool.clone() };
    let filter = Inner::with_base(&made, base)?;
    if filter.hash.of(MAGIC) != probe {
        return Err(corrupt(path, "its keys were hashed in another way"));
    }
    let filter = filter.restore(tables, saturated == 1, |_, table| {
        for block in table.bytes_mut().chunks_mut(BLOCK) {
            file.read_exact(block).map_err(short)?;
            sum.block(block);
        }
        let counted = table.recount().map_err(|what| corrupt(path, what))?;
        if counted != used.u64() {
            return Err(corrupt(path, "a table holds more or less than the head says"));
        }
        Ok(())
    })?;
    let mut expected = [0; SUM];
    file.read_exact(&mut expected).map_err(short)?;
    if sum.hash != u64::from_le_bytes(expected) {
        return Err(corrupt(path, "the checksum is another"));
    }
    Ok(filter)
}

/// A field of the configuration that is set is the file's.
fn agree(field: &str, asked: u64, has: u64) -> Result<()> {
    if asked == 0 || asked == has { Ok(()) } else { Err(disagree(field, &asked, &has)) }
}

fn disagree(field: &str, asked: &dyn std::fmt::Display, has: &dyn std::fmt::Display) -> Error {
    Error::new(ErrorKind::Invalid, format!("{field} is {asked}; the filter in the file has {has}"))
}
