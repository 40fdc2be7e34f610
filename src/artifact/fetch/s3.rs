//! `s3://bucket/key` as an HTTP request: the address at an endpoint, signed with version 4 of the
//! signature process of AWS. Only what a GET needs: neither a body nor a query.

use std::net::IpAddr;

use chrono::{DateTime, Utc};

use super::aws::{self, Credentials};
use crate::artifact::address::host;
use crate::artifact::faults::CredentialFault;
use crate::config::access::{FetchEnv, S3Settings};
use crate::model::digest::Digest;

/// The digest of no bytes, which is what a GET sends.
const NOTHING: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// A server of `s3://` addresses, and who asks it.
pub(super) struct Store {
    /// With `{bucket}` in its name, or without: then the bucket is the first part of the path.
    endpoint: Option<String>,
    region: String,
    credentials: Credentials,
}

impl Store {
    /// Finds the settings that the config lacks, in the variables and files of AWS.
    pub(super) fn new(settings: &S3Settings, machine: &FetchEnv) -> Result<Self, CredentialFault> {
        let profile = aws::Profile::read(settings.profile.as_deref(), machine)?;
        let said = |names: &[&str], key| machine.first(names).or(profile.value(key));
        let endpoint = said(&["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"], "endpoint_url");
        let endpoint = settings.endpoint.as_deref().or(endpoint);
        let endpoint = endpoint.map(|text| text.trim_end_matches('/').to_owned());
        if let Some(text) = endpoint.as_deref().filter(|text| !is_safe(text)) {
            return Err(CredentialFault::PlainEndpoint { endpoint: text.to_owned() });
        }
        let region = said(&["AWS_REGION", "AWS_DEFAULT_REGION"], "region");
        let region = settings.region.as_deref().or(region).unwrap_or("us-east-1").to_owned();
        Ok(Self { endpoint, region, credentials: aws::credentials(&profile, machine)? })
    }

    /// Returns the address of a request for an object, and its headers.
    pub(super) fn signed(
        &self,
        address: &str,
        now: DateTime<Utc>,
    ) -> (String, Vec<(String, String)>) {
        let rest = address.strip_prefix("s3://").unwrap_or(address);
        let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
        let (base, path) = self.place(bucket, key);
        let named = base.split_once("://").map_or(base.as_str(), |(_, host)| host);
        let mut headers = vec![
            ("host".to_owned(), named.to_owned()),
            ("x-amz-content-sha256".to_owned(), NOTHING.to_owned()),
            ("x-amz-date".to_owned(), now.format("%Y%m%dT%H%M%SZ").to_string()),
        ];
        if let Some(token) = &self.credentials.token {
            headers.push(("x-amz-security-token".to_owned(), token.clone()));
        }
        let authorization = authorization(&path, &headers, &self.region, &self.credentials);
        // The client writes the same one.
        headers.remove(0);
        headers.push(("authorization".to_owned(), authorization));
        (format!("{base}{path}"), headers)
    }

    /// Returns scheme and host of an object, and its path.
    fn place(&self, bucket: &str, key: &str) -> (String, String) {
        let key = written(key);
        let region = &self.region;
        let domain = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
        match &self.endpoint {
            Some(named) if named.contains("{bucket}") => {
                (named.replace("{bucket}", bucket), format!("/{key}"))
            }
            Some(endpoint) => (endpoint.clone(), format!("/{bucket}/{key}")),
            // No certificate is for a name with dots in place of the star.
            None if bucket.contains('.') => {
                (format!("https://s3.{region}.{domain}"), format!("/{bucket}/{key}"))
            }
            None => (format!("https://{bucket}.s3.{region}.{domain}"), format!("/{key}")),
        }
    }
}

/// Returns whether nobody on the way can change what comes from an endpoint: it is asked by TLS, or
/// on this machine.
fn is_safe(endpoint: &str) -> bool {
    let Some(authority) = endpoint.strip_prefix("http://") else {
        return endpoint.starts_with("https://");
    };
    let host = host(authority);
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Returns a key as it stands in a path: all but plain characters and slashes are written as `%20`.
fn written(key: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    let write = |byte: u8| {
        if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }
    };
    key.bytes().map(write).collect()
}

/// Returns the header `Authorization` of a GET with these headers, which are in order and in lower
/// case, among them the date.
fn authorization(
    path: &str,
    headers: &[(String, String)],
    region: &str,
    credentials: &Credentials,
) -> String {
    let value = |name: &str| headers.iter().find(|header| header.0 == name).map(|header| &header.1);
    let time = value("x-amz-date").map_or("", String::as_str);
    let day = &time[..time.len().min(8)];
    let names = headers.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(";");
    let lines = headers.iter().map(|(name, value)| format!("{name}:{}\n", value.trim()));
    let lines: String = lines.collect();
    let request = format!("GET\n{path}\n\n{lines}\n{names}\n{NOTHING}");
    let scope = format!("{day}/{region}/s3/aws4_request");
    let digest = Digest::of(request.as_bytes());
    let to_sign = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{digest}");
    let mut key = format!("AWS4{}", credentials.secret).into_bytes();
    for part in [day, region, "s3", "aws4_request"] {
        key = Digest::keyed(&key, part.as_bytes()).bytes().to_vec();
    }
    let signature = Digest::keyed(&key, to_sign.as_bytes());
    let id = &credentials.id;
    format!("AWS4-HMAC-SHA256 Credential={id}/{scope},SignedHeaders={names},Signature={signature}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Credentials {
        Credentials {
            id: "AKIAIOSFODNN7EXAMPLE".to_owned(),
            secret: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".to_owned(),
            token: None,
        }
    }

    fn store(endpoint: Option<&str>) -> Store {
        let endpoint = endpoint.map(str::to_owned);
        Store { endpoint, region: "eu-west-1".to_owned(), credentials: example() }
    }

    /// The example in the documentation of Amazon S3, "Signature Calculations for the Authorization
    /// Header".
    #[test]
    fn signature_is_that_of_the_documented_example() {
        let headers = [
            ("host", "examplebucket.s3.amazonaws.com"),
            ("range", "bytes=0-9"),
            ("x-amz-content-sha256", NOTHING),
            ("x-amz-date", "20130524T000000Z"),
        ];
        let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(
            authorization("/test.txt", &headers, "us-east-1", &example()),
            "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,\
             SignedHeaders=host;range;x-amz-content-sha256;x-amz-date,\
             Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
        );
    }

    #[test]
    fn object_is_at_its_bucket_or_below_it() {
        let url = |endpoint, address| store(endpoint).signed(address, DateTime::UNIX_EPOCH).0;
        let aws = |address| url(None, address);
        assert_eq!(aws("s3://b/a/k.tar"), "https://b.s3.eu-west-1.amazonaws.com/a/k.tar");
        assert_eq!(aws("s3://b.c/k"), "https://s3.eu-west-1.amazonaws.com/b.c/k");
        let own = Some("http://127.0.0.1:9000");
        assert_eq!(url(own, "s3://b/ä +=k"), "http://127.0.0.1:9000/b/%C3%A4%20%2B%3Dk");
        let named = Some("https://{bucket}.oss.example.net");
        assert_eq!(url(named, "s3://b/k"), "https://b.oss.example.net/k");
    }

    #[test]
    fn plain_endpoint_is_for_this_machine_only() {
        for safe in [
            "https://x",
            "http://127.0.0.1:9000",
            "http://localhost",
            "http://[::1]:1",
            "http://[::1]",
        ] {
            assert!(is_safe(safe), "{safe}");
        }
        let others = [
            "http://minio:9000",
            "http://localhost.evil.org",
            "http://127.evil.org",
            "ftp://x",
            "",
        ];
        for other in others.into_iter().chain(["http://localhost:1@evil.org", "http://127.0.0.1/x"])
        {
            assert!(!is_safe(other), "{other}");
        }
    }
}
