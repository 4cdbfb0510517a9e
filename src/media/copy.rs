//! One object: copied where it is missing, compared where it is there.

use blake3::{Hash, Hasher};

use super::place::{Found, Piece, Place, Writer};
use crate::error::{Error, Result};
use crate::stop::Stop;

/// From where to where.
pub struct Copier {
    pub from: Place,
    pub to: Place,
}

/// What was done about an object.
pub enum Done {
    Copied,
    AlreadyThere,
}

impl Copier {
    /// Brings one object back. An object of the same name is compared, and never replaced.
    pub async fn copy(&self, object: &Found, stop: &Stop) -> Result<Done> {
        if let Some(there) = self.to.size(&object.key).await? {
            return self.compare(object, there, stop).await;
        }
        let Some(written) = self.write(object, stop).await? else {
            // Somebody else wrote it in this moment, or began to.
            let there = self.to.size(&object.key).await?.ok_or_else(|| {
                Error::failed("unable to write it: somebody else did in the same moment").hint("run it again")
            })?;
            return self.compare(object, there, stop).await;
        };
        if hash(&self.to, object, stop).await? != written {
            return Err(Error::failed("unable to trust the copy: what is read back is not what was written")
                .hint("look at the live store, remove this object, and run it again"));
        }
        Ok(Done::Copied)
    }

    async fn compare(&self, object: &Found, there: u64, stop: &Stop) -> Result<Done> {
        let differs = |how: &str| {
            Error::undecided(format!("unable to restore it: another object of this name is there, {how}"))
                .hint("decide which one is right; the one in the live store was not touched")
        };
        if there != object.bytes {
            return Err(differs(&format!("of {there} bytes instead of {}", object.bytes)));
        }
        let (backup, live) = tokio::try_join!(hash(&self.from, object, stop), hash(&self.to, object, stop))?;
        if backup == live {
            Ok(Done::AlreadyThere)
        } else {
            Err(differs("of the same size, with other content"))
        }
    }

    /// The hash of what was written; `None` if the name was taken meanwhile.
    async fn write(&self, object: &Found, stop: &Stop) -> Result<Option<Hash>> {
        let mut pieces = Pieces::of(&self.from, object, stop);
        let Some(first) = pieces.next().await? else {
            return Err(Error::bug("an object has no first piece"));
        };
        let mut writer = self.to.create(&object.key, &first).await?;
        let mut piece = Some(first);
        while let Some(Piece { bytes, .. }) = piece {
            writer = writer.write(bytes).await?;
            piece = match pieces.next().await {
                Ok(piece) => piece,
                Err(error) => {
                    writer.abort().await;
                    return Err(error);
                }
            };
        }
        let hash = pieces.hasher.finalize();
        Ok(Writer::finish(writer).await?.then_some(hash))
    }
}

/// The hash of an object that is read piece by piece.
async fn hash(place: &Place, object: &Found, stop: &Stop) -> Result<Hash> {
    let mut pieces = Pieces::of(place, object, stop);
    while pieces.next().await?.is_some() {}
    Ok(pieces.hasher.finalize())
}

/// Reads an object front to back, of one version and of the size it was found with.
struct Pieces<'a> {
    place: &'a Place,
    object: &'a Found,
    stop: &'a Stop,
    read: u64,
    begun: bool,
    version: Option<String>,
    hasher: Hasher,
}

impl<'a> Pieces<'a> {
    fn of(place: &'a Place, object: &'a Found, stop: &'a Stop) -> Self {
        Self { place, object, stop, read: 0, begun: false, version: None, hasher: Hasher::new() }
    }

    /// The next piece; an empty object has one, without bytes.
    async fn next(&mut self) -> Result<Option<Piece>> {
        if self.begun && self.read >= self.object.bytes {
            return Ok(None);
        }
        if *self.stop.borrow() {
            return Err(Error::interrupted("unable to finish it: it was stopped"));
        }
        let wanted = self.place.piece_bytes().min(self.object.bytes - self.read);
        let piece = self.place.piece(&self.object.key, self.read, wanted, self.version.as_deref()).await?;
        if piece.total != self.object.bytes || piece.bytes.len() as u64 != wanted {
            return Err(Error::failed(format!(
                "unable to read '{}': it was changed meanwhile",
                self.place.shown(&self.object.key)
            ))
            .hint("run it again"));
        }
        self.begun = true;
        self.read += wanted;
        self.hasher.update(&piece.bytes);
        self.version.clone_from(&piece.version);
        Ok(Some(piece))
    }
}
