//! A bucket of S3, or of what speaks its protocol, as a place of objects.
//!
//! Every object is created with `If-None-Match: *`, so that the server itself refuses to replace one. For objects in
//! parts the condition belongs to the request that completes them; `object_store` has no option for that, and
//! [`CreateOnly`] adds it.

use std::error::Error as StdError;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::aws::AmazonS3Builder;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpRequest, HttpResponse, HttpService, ReqwestConnector,
};
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{
    Attribute, Attributes, ClientOptions, GetOptions, GetRange, HeaderValue, MultipartUpload, ObjectStore,
    ObjectStoreExt, PutMode, PutMultipartOptions, PutOptions, PutPayload,
};
use reqwest::Method;
use reqwest::header::IF_NONE_MATCH;

use super::place::{Found, Piece};
use crate::environment::Environment;
use crate::error::{Error, Result};
use crate::limits::{MEDIA_FAULT_CHARACTERS_MAX, MEDIA_PART_BYTES, MEDIA_PARTS_MAX};

/// A bucket, or a folder of it.
pub struct Bucket {
    objects: Arc<dyn ObjectStore>,
    url: String,
}

/// An object that is being written.
pub struct Writer {
    objects: Arc<dyn ObjectStore>,
    path: Path,
    shown: String,
    attributes: Attributes,
    /// What has not been put yet.
    held: BytesMut,
    /// A large object goes out in parts.
    parts: Option<Parts>,
}

struct Parts {
    upload: Box<dyn MultipartUpload>,
    bytes: usize,
}

/// Makes every completion of an upload a creation. The header is not among the signed ones and need not be.
#[derive(Debug)]
struct CreateOnly(HttpClient);

#[async_trait]
impl HttpService for CreateOnly {
    async fn call(&self, mut request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let completes = request.uri().query().is_some_and(|query| query.contains("uploadId="));
        if completes && request.method() == Method::POST {
            request.headers_mut().insert(IF_NONE_MATCH, HeaderValue::from_static("*"));
        }
        self.0.execute(request).await
    }
}

#[derive(Debug)]
struct Connector;

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(CreateOnly(ReqwestConnector::default().connect(options)?)))
    }
}

impl Bucket {
    /// A bucket with the settings of `AWS_…` variables, before which `env` stands.
    pub fn open(bucket: &str, path: &str, env: &str, environment: &Environment) -> Result<Self> {
        let url = if path.is_empty() { format!("s3://{bucket}") } else { format!("s3://{bucket}/{path}") };
        let start = format!("{env}AWS_");
        let mut builder = AmazonS3Builder::new();
        let mut known = 0;
        for (name, value) in environment.beginning_with(&start) {
            if let Ok(key) = format!("aws_{}", name.to_ascii_lowercase()).parse() {
                builder = builder.with_config(key, value);
                known += 1;
            }
        }
        let unable = || Error::usage(format!("unable to open bucket '{url}'"));
        if known == 0 && !env.is_empty() {
            return Err(unable().hint(format!("no variable is set whose name begins with '{start}'")));
        }
        let built = builder.with_bucket_name(bucket).with_http_connector(Connector).build();
        let store = built.map_err(|error| unable().because(fault(&error)))?;
        let prefix = Path::parse(path).map_err(|error| unable().because(error))?;
        Ok(Self { objects: Arc::new(PrefixStore::new(store, prefix)), url })
    }

    pub fn shown(&self, key: &str) -> String {
        format!("{}/{key}", self.url)
    }

    fn unable(&self, what: &str, key: &str, error: &object_store::Error) -> Error {
        Error::failed(format!("unable to {what} '{}'", self.shown(key))).because(fault(error))
    }

    fn path(&self, key: &str) -> Result<Path> {
        Path::parse(key).map_err(|error| {
            Error::failed(format!("unable to name '{}'", self.shown(key).escape_debug())).because(error)
        })
    }

    pub fn list(&self, prefix: &str) -> BoxStream<'static, Result<Found>> {
        let path = match self.path(prefix) {
            Ok(path) => path,
            Err(error) => return futures::stream::iter([Err(error)]).boxed(),
        };
        let shown = self.shown(prefix);
        self.objects
            .list(Some(&path))
            .map_ok(|meta| Found { key: meta.location.into(), bytes: meta.size })
            .map_err(move |error| Error::failed(format!("unable to list '{shown}'")).because(fault(&error)))
            .boxed()
    }

    pub async fn size(&self, key: &str) -> Result<Option<u64>> {
        match self.objects.head(&self.path(key)?).await {
            Ok(meta) => Ok(Some(meta.size)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.unable("look at", key, &error)),
        }
    }

    pub async fn piece(&self, key: &str, start: u64, most: u64, version: Option<&str>) -> Result<Piece> {
        // An empty object has no range.
        let range = (most > 0).then(|| GetRange::Bounded(start..start + most));
        let options = GetOptions { range, if_match: version.map(str::to_owned), ..GetOptions::default() };
        let got = self.objects.get_opts(&self.path(key)?, options).await;
        let got = got.map_err(|error| self.unable("read", key, &error))?;
        let (total, version, attributes) = (got.meta.size, got.meta.e_tag.clone(), got.attributes.clone());
        let bytes = got.bytes().await.map_err(|error| self.unable("read", key, &error))?;
        Ok(Piece { bytes, total, version, attributes })
    }

    pub async fn create(&self, key: &str, first: &Piece) -> Result<Writer> {
        let path = self.path(key)?;
        // The class of a backup, an archive's for example, is not that of the live store.
        let attributes = first.attributes.iter().filter(|(name, _)| **name != Attribute::StorageClass);
        let attributes: Attributes = attributes.map(|(name, value)| (name.clone(), value.clone())).collect();
        let mut parts = None;
        if first.total > MEDIA_PART_BYTES {
            let bytes = MEDIA_PART_BYTES.max(first.total.div_ceil(MEDIA_PARTS_MAX));
            let bytes =
                usize::try_from(bytes).map_err(|error| Error::bug("a part is too large").because(error))?;
            let options = PutMultipartOptions { attributes: attributes.clone(), ..Default::default() };
            let begun = self.objects.put_multipart_opts(&path, options).await;
            let upload = begun.map_err(|error| self.unable("create", key, &error))?;
            parts = Some(Parts { upload, bytes });
        }
        let (objects, shown) = (Arc::clone(&self.objects), self.shown(key));
        Ok(Writer { objects, path, shown, attributes, held: BytesMut::new(), parts })
    }
}

impl Writer {
    fn unable(&self, error: &object_store::Error) -> Error {
        Error::failed(format!("unable to write '{}'", self.shown)).because(fault(error))
    }

    pub async fn write(mut self, bytes: Bytes) -> Result<Self> {
        self.held.extend_from_slice(&bytes);
        while let Some(parts) = self.parts.as_mut().filter(|parts| self.held.len() >= parts.bytes) {
            let part = self.held.split_to(parts.bytes).freeze();
            if let Err(error) = parts.upload.put_part(part.into()).await {
                let error = self.unable(&error);
                self.abort().await;
                return Err(error);
            }
        }
        Ok(self)
    }

    pub async fn finish(mut self) -> Result<bool> {
        let payload = PutPayload::from_bytes(std::mem::take(&mut self.held).freeze());
        let finished = match &mut self.parts {
            None => {
                let attributes = std::mem::take(&mut self.attributes);
                let options = PutOptions { mode: PutMode::Create, attributes, ..PutOptions::default() };
                self.objects.put_opts(&self.path, payload, options).await.map(drop)
            }
            Some(Parts { upload, .. }) => complete(upload.as_mut(), payload).await,
        };
        match finished {
            Ok(()) => Ok(true),
            Err(error) => {
                let taken = matches!(
                    error,
                    object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }
                );
                let error = self.unable(&error);
                self.abort().await;
                if taken { Ok(false) } else { Err(error) }
            }
        }
    }

    pub async fn abort(self) {
        if let Some(Parts { mut upload, .. }) = self.parts {
            // What stays behind is no object; the bucket's lifecycle rule removes it.
            let _ = upload.abort().await;
        }
    }
}

async fn complete(upload: &mut dyn MultipartUpload, rest: PutPayload) -> object_store::Result<()> {
    if rest.content_length() > 0 {
        upload.put_part(rest).await?;
    }
    upload.complete().await.map(drop)
}

/// A server's answer in short. Its whole text repeats the request, with headers that are nobody's business.
fn fault(error: &object_store::Error) -> Box<dyn StdError + Send + Sync> {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let line = inner.to_string();
        if !text.contains(&line) {
            text = format!("{text}: {line}");
        }
        cause = inner.source();
    }
    let (before, answer) = text.split_once('<').unwrap_or((&text, ""));
    let of = |name: &str| {
        let (_, rest) = answer.split_once(&format!("<{name}>"))?;
        rest.split_once("</").map(|(value, _)| format!("{value} "))
    };
    let (code, message) = (of("Code").unwrap_or_default(), of("Message").unwrap_or_default());
    let short = format!("{before}{code}{message}");
    short.trim_end_matches([' ', ':']).chars().take(MEDIA_FAULT_CHARACTERS_MAX).collect::<String>().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_servers_answer_is_told_without_the_request_it_repeats() {
        let answer = "Server returned non-2xx status code: 403 Forbidden: <?xml version=\"1.0\"?><Error>\
                      <Code>SignatureDoesNotMatch</Code><Message>no match</Message>\
                      <CanonicalRequest>x-amz-security-token:secret</CanonicalRequest></Error>";
        let error = object_store::Error::Generic { store: "S3", source: answer.into() };
        let told = fault(&error).to_string();
        assert!(told.ends_with("403 Forbidden: SignatureDoesNotMatch no match"), "{told}");
    }
}
