//! Where objects are: a folder of the file system or a bucket, the same five operations.

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::Attributes;
use url::Url;

use super::bucket::{self, Bucket};
use super::folder::{Folder, Staged};
use crate::environment::Environment;
use crate::error::{Error, Result};
use crate::limits::{MEDIA_FILE_PIECE_BYTES, MEDIA_PART_BYTES};

/// A store of objects.
pub enum Place {
    Folder(Folder),
    Bucket(Bucket),
}

/// An object, as a listing shows it.
pub struct Found {
    /// Its name below the place.
    pub key: String,
    pub bytes: u64,
}

/// A part of an object.
pub struct Piece {
    pub bytes: Bytes,
    /// Bytes of the whole object.
    pub total: u64,
    /// What changes when the object does, if the place tells.
    pub version: Option<String>,
    /// Content type and the like; a folder knows none.
    pub attributes: Attributes,
}

/// An object that is being written; nobody sees it before it is finished.
pub enum Writer {
    File(Staged),
    Object(bucket::Writer),
}

/// A URL, taken apart.
pub enum Parsed {
    Folder(std::path::PathBuf),
    Bucket { bucket: String, path: String },
}

/// Reads `file:///FOLDER`, `s3://BUCKET` or `s3://BUCKET/PATH`.
pub fn parse(url: &str) -> Result<Parsed> {
    // The text itself is not repeated before it is known to hold no secret.
    let wrong = |what: &str| {
        Error::usage(format!("unable to read the URL of a media store: {what}")).hint(
            "write file:///FOLDER, s3://BUCKET or s3://BUCKET/PATH; credentials come from the environment",
        )
    };
    let parsed = Url::parse(url).map_err(|_| wrong("it is not a URL"))?;
    let has_more = parsed.query().is_some() || parsed.fragment().is_some();
    if !parsed.username().is_empty() || parsed.password().is_some() || has_more {
        return Err(wrong("it holds more than a place"));
    }
    match parsed.scheme() {
        "file" => Ok(Parsed::Folder(parsed.to_file_path().map_err(|()| wrong("it names no folder"))?)),
        "s3" => {
            // As written: a URL's path would be percent-encoded.
            let rest = url.split_once("://").map_or("", |(_, rest)| rest).trim_end_matches('/');
            let (bucket, path) = rest.split_once('/').unwrap_or((rest, ""));
            let plain = path.is_empty() || super::prefix::is_plain(path);
            if bucket.is_empty() || !plain {
                return Err(wrong("it is not s3://BUCKET or s3://BUCKET/PATH"));
            }
            Ok(Parsed::Bucket { bucket: bucket.to_owned(), path: path.to_owned() })
        }
        other => Err(wrong(&format!("'{other}' is neither file nor s3"))),
    }
}

impl Place {
    /// Opens the place of a URL; `env` stands before the names of its variables.
    pub fn open(url: &str, env: &str, environment: &Environment) -> Result<Self> {
        match parse(url)? {
            Parsed::Folder(folder) => Ok(Self::Folder(Folder::open(folder)?)),
            Parsed::Bucket { bucket, path } => {
                Ok(Self::Bucket(Bucket::open(&bucket, &path, env, environment)?))
            }
        }
    }

    /// An object's name for messages.
    pub fn shown(&self, key: &str) -> String {
        let shown = match self {
            Self::Folder(folder) => folder.path(key).display().to_string(),
            Self::Bucket(bucket) => bucket.shown(key),
        };
        // Names are data, and may hold what a terminal would obey.
        shown.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
    }

    /// All objects below a folder.
    pub fn list(&self, prefix: &str) -> BoxStream<'static, Result<Found>> {
        match self {
            Self::Folder(folder) => folder.list(prefix).boxed(),
            Self::Bucket(bucket) => bucket.list(prefix),
        }
    }

    /// The size of an object, `None` if there is none.
    pub async fn size(&self, key: &str) -> Result<Option<u64>> {
        match self {
            Self::Folder(folder) => folder.size(key).await,
            Self::Bucket(bucket) => bucket.size(key).await,
        }
    }

    /// How much of an object is worth reading at a time.
    pub fn piece_bytes(&self) -> u64 {
        match self {
            Self::Folder(_) => MEDIA_FILE_PIECE_BYTES,
            Self::Bucket(_) => MEDIA_PART_BYTES,
        }
    }

    /// At most `most` bytes of an object from `start` on, of this version if one is given.
    pub async fn piece(&self, key: &str, start: u64, most: u64, version: Option<&str>) -> Result<Piece> {
        match self {
            Self::Folder(folder) => folder.piece(key, start, most, version).await,
            Self::Bucket(bucket) => bucket.piece(key, start, most, version).await,
        }
    }

    /// Begins an object.
    pub async fn create(&self, key: &str, first: &Piece) -> Result<Writer> {
        match self {
            Self::Folder(folder) => folder.create(key).await.map(Writer::File),
            Self::Bucket(bucket) => bucket.create(key, first).await.map(Writer::Object),
        }
    }

    /// Removes what killed runs left unfinished below a folder.
    pub async fn sweep(&self, prefix: &str) -> Result<()> {
        match self {
            Self::Folder(folder) => folder.sweep(prefix).await,
            // An upload that was not completed is no object; the bucket's lifecycle rule removes it.
            Self::Bucket(_) => Ok(()),
        }
    }
}

impl Writer {
    /// Adds bytes.
    pub async fn write(self, bytes: Bytes) -> Result<Self> {
        match self {
            Self::File(staged) => staged.write(bytes).await.map(Self::File),
            Self::Object(writer) => writer.write(bytes).await.map(Self::Object),
        }
    }

    /// Gives the object its name; false if there is one of this name already, which stays as it is.
    pub async fn finish(self) -> Result<bool> {
        match self {
            Self::File(staged) => staged.finish().await,
            Self::Object(writer) => writer.finish().await,
        }
    }

    /// Takes back what was written.
    pub async fn abort(self) {
        match self {
            // Its file goes with it.
            Self::File(_) => {}
            Self::Object(writer) => writer.abort().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_a_place_and_holds_no_secret() {
        let parsed = |url: &str| match parse(url) {
            Ok(Parsed::Folder(folder)) => Ok(folder.display().to_string()),
            Ok(Parsed::Bucket { bucket, path }) => Ok(format!("{bucket} {path}")),
            Err(error) => Err(format!("{} {:?}", error.chain(), error.hints())),
        };
        assert_eq!(parsed("file:///srv/a%20b/").as_deref(), Ok("/srv/a b/"));
        assert_eq!(parsed("s3://media/").as_deref(), Ok("media "));
        assert_eq!(parsed("s3://media/a b/c").as_deref(), Ok("media a b/c"));
        for url in
            ["s3://key:secret@media/x", "s3://media/x?token=secret", "gs://secret/x", "secret", "s3://m/../x"]
        {
            let refused = parsed(url).expect_err(url);
            assert!(!refused.contains("secret"), "{refused}");
        }
    }
}
