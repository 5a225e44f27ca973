//! A certificate authority and a server certificate for loopback, made anew in every run.

use std::fs;
use std::path::{Path, PathBuf};

use openssl::asn1::Asn1Time;
use openssl::bn::{BigNum, MsbOption};
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use openssl::x509::extension::{BasicConstraints, KeyUsage, SubjectAlternativeName};
use openssl::x509::{X509, X509Builder, X509Name, X509NameBuilder};

/// PEM files.
pub struct Certificates {
    /// The authority, which clients must be told of.
    pub ca: PathBuf,
    /// Key (PKCS #8) and certificate chain of the server `localhost`, `127.0.0.1`, in one file.
    pub server: PathBuf,
}

pub fn certificates(folder: &Path) -> Certificates {
    let (ca, server) = make().expect("OpenSSL makes certificates");
    let files = Certificates { ca: folder.join("ca.pem"), server: folder.join("server.pem") };
    fs::create_dir_all(folder).expect("the target folder is writable");
    fs::write(&files.ca, ca).expect("the target folder is writable");
    fs::write(&files.server, server).expect("the target folder is writable");
    files
}

fn make() -> Result<(Vec<u8>, Vec<u8>), ErrorStack> {
    let ca_key = PKey::from_rsa(Rsa::generate(2048)?)?;
    let mut ca = builder("Rollbook test authority", "Rollbook test authority", &ca_key)?;
    ca.append_extension(BasicConstraints::new().critical().ca().build()?)?;
    ca.append_extension(KeyUsage::new().critical().key_cert_sign().crl_sign().build()?)?;
    ca.sign(&ca_key, MessageDigest::sha256())?;
    let ca = ca.build();

    let key = PKey::from_rsa(Rsa::generate(2048)?)?;
    let mut server = builder("localhost", "Rollbook test authority", &key)?;
    let names = SubjectAlternativeName::new()
        .dns("localhost")
        .ip("127.0.0.1")
        .build(&server.x509v3_context(Some(&ca), None))?;
    server.append_extension(names)?;
    server.sign(&ca_key, MessageDigest::sha256())?;

    let mut chain = key.private_key_to_pem_pkcs8()?;
    chain.extend(server.build().to_pem()?);
    chain.extend(ca.to_pem()?);
    Ok((ca.to_pem()?, chain))
}

fn builder(subject: &str, issuer: &str, key: &PKey<Private>) -> Result<X509Builder, ErrorStack> {
    let mut builder = X509::builder()?;
    let mut serial = BigNum::new()?;
    serial.rand(64, MsbOption::MAYBE_ZERO, false)?;
    builder.set_version(2)?;
    builder.set_serial_number(&*serial.to_asn1_integer()?)?;
    builder.set_subject_name(&*common_name(subject)?)?;
    builder.set_issuer_name(&*common_name(issuer)?)?;
    builder.set_not_before(&*Asn1Time::days_from_now(0)?)?;
    builder.set_not_after(&*Asn1Time::days_from_now(2)?)?;
    builder.set_pubkey(key)?;
    Ok(builder)
}

fn common_name(name: &str) -> Result<X509Name, ErrorStack> {
    let mut builder = X509NameBuilder::new()?;
    builder.append_entry_by_text("CN", name)?;
    Ok(builder.build())
}
