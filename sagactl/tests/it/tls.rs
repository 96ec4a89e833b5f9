//! A service that is behind TLS, as an ingress has it.

use std::sync::Arc;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::ring,
        pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    },
};

use uuid::Uuid;

use crate::harness::{System, command, ended};

/// Hands on to `service` what comes over TLS; returns where it listens, and the certificate that it shows.
async fn before(service: &str) -> (String, String) {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(signing_key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("localhost:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let service = service.trim_start_matches("http://").to_owned();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let (acceptor, service) = (acceptor.clone(), service.clone());
            tokio::spawn(async move {
                // A client that does not trust it goes away.
                let Ok(mut client) = acceptor.accept(client).await else {
                    return;
                };
                let mut service = TcpStream::connect(service).await.unwrap();
                let _ = copy_bidirectional(&mut client, &mut service).await;
            });
        }
    });
    (format!("https://localhost:{port}"), cert.pem())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_behind_tls_is_asked_if_its_certificate_is_trusted() {
    let system = System::alone().await;
    let (url, certificate) = before(&system.url).await;
    let file = std::env::temp_dir().join(format!("sagactl-{}.pem", Uuid::new_v4()));
    std::fs::write(&file, certificate).unwrap();

    let mut trusting = command(&url, &["ls"]);
    trusting.env("SSL_CERT_FILE", &file);
    let trusted = ended(trusting).await;
    std::fs::remove_file(file).unwrap();
    assert_eq!(trusted.code, 0, "{trusted:?}");

    let refused = ended(command(&url, &["ls"])).await;
    assert_eq!(refused.code, 3, "{refused:?}");
    let says = |part: &str| assert!(refused.err.contains(part), "{refused:?}");
    says(&url);
    says("certificate");
    system.stop().await;
}
