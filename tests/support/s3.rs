//! A server that speaks S3 over a temporary folder: what is in a bucket can be looked at as plain files, outside of
//! what is tested.

use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::service::Service;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use reinstate::environment::Environment;
use s3s::Body;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use tempfile::TempDir;
use tokio::net::TcpListener;

const KEY: &str = "AKIATEST";
const SECRET: &str = "a-secret-of-the-tests";

/// Sees each request before it is served.
pub type Watch = Arc<dyn Fn(&Request<Incoming>) + Send + Sync>;

/// A running server; it ends with the test's runtime.
pub struct S3 {
    root: TempDir,
    endpoint: String,
}

#[derive(Clone)]
struct Watched(S3Service, Watch);

impl Service<Request<Incoming>> for Watched {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = futures::future::BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        (self.1)(&request);
        let served = Service::call(&self.0, request);
        Box::pin(async move { Ok(served.await.expect("an answer of the S3 server")) })
    }
}

impl S3 {
    /// A server with these buckets.
    pub async fn start(buckets: &[&str]) -> Self {
        Self::watched(buckets, Arc::new(|_| {})).await
    }

    pub async fn watched(buckets: &[&str], watch: Watch) -> Self {
        let root = tempfile::tempdir().expect("folder");
        for bucket in buckets {
            std::fs::create_dir(root.path().join(bucket)).expect("bucket");
        }
        let mut builder = S3ServiceBuilder::new(s3s_fs::FileSystem::new(root.path()).expect("file system"));
        builder.set_auth(SimpleAuth::from_single(KEY, SECRET));
        let service = Watched(builder.build(), watch);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("port");
        let endpoint = format!("http://{}", listener.local_addr().expect("address"));
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let service = service.clone();
                tokio::spawn(async move {
                    let server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                    // A client that goes away is no fault of the server's.
                    let _ = server.serve_connection(TokioIo::new(socket), service).await;
                });
            }
        });
        Self { root, endpoint }
    }

    /// The files of a bucket.
    pub fn folder(&self, bucket: &str) -> PathBuf {
        self.root.path().join(bucket)
    }

    /// The variables that lead here, with `prefix` before their names.
    pub fn variables(&self, prefix: &str) -> Vec<(String, String)> {
        let variables = [
            ("ACCESS_KEY_ID", KEY),
            ("SECRET_ACCESS_KEY", SECRET),
            ("ENDPOINT_URL", &self.endpoint),
            ("ALLOW_HTTP", "true"),
            ("REGION", "us-east-1"),
        ];
        variables.map(|(name, value)| (format!("{prefix}AWS_{name}"), value.to_owned())).to_vec()
    }

    pub fn environment(&self) -> Environment {
        self.variables("").into_iter().collect()
    }
}
