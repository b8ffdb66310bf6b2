//! Sends audit messages (ITI-20) of stored queries with the crate `ihe-atna`, by its spool and forwarder.
//!
//! `ihe-atna-sender tls://HOST:PORT TRUST.pem IDENTITY.pem SPOOL NUMBER`; ends when all of them are sent.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ihe_atna::atna::codes;
use ihe_atna::atna::forwarder::Forwarder;
use ihe_atna::atna::message::{
    AccessPoint, ActiveParticipant, AuditMessage, AuditSource, CodedValue, EventIdentification,
    ParticipantObject, SourceType,
};
use ihe_atna::atna::repository::{Repository, Timeouts, TlsSettings};
use ihe_atna::atna::spool::{Bounds, Spool};
use ihe_atna::atna::syslog::Sender;
use jiff::Timestamp;
use secrecy::SecretString;
use url::Url;

const SECONDS: Duration = Duration::from_secs(10);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let given: Vec<String> = std::env::args().skip(1).collect();
    let [address, trust, identity, spool, number] = given.as_slice() else {
        return Err("five words are needed".into());
    };
    let tls = TlsSettings {
        roots: Some(std::fs::read(trust)?),
        identity: Some(SecretString::from(std::fs::read_to_string(identity)?)),
    };
    let timeouts = Timeouts { connect: SECONDS, send: SECONDS };
    let bounds = Bounds { max_messages: 1_000, max_bytes: 64 << 20, write_timeout: SECONDS };
    let repository = Repository::tls(&Url::parse(address)?, &tls, timeouts)?;
    let spool = Spool::open(Path::new(spool), bounds)?;
    let forwarder = Forwarder::new(spool, repository, Duration::from_millis(500));
    let sender = Sender::new("hospital.example", "ferro", "17")?;
    let running = tokio::spawn(Arc::clone(&forwarder).run());
    for place in 0..number.parse::<usize>()? {
        let now = Timestamp::now();
        forwarder.submit(sender.frame(now, &of_a_query(place, now).to_xml()?)).await?;
    }
    while forwarder.status().depth.waiting() > 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    forwarder.stop();
    Ok(running.await?)
}

/// The source's record of Registry Stored Query [ITI-18] (ITI TF-2 3.18.5.1.1), of one of many patients.
fn of_a_query(place: usize, now: Timestamp) -> AuditMessage {
    let transaction = CodedValue::new("ITI-18", "IHE Transactions", "Registry Stored Query");
    AuditMessage {
        event: EventIdentification {
            event_id: CodedValue::new("110112", "DCM", "Query"),
            action: "E",
            date_time: now,
            outcome: "0",
            type_codes: vec![transaction.clone()],
            outcome_description: Some(format!("number {place} <&> \u{e9}")),
        },
        participants: vec![
            participant("https://consumer.hospital.example", true, ("110153", "DCM", "Source Role ID")),
            participant("https://registry.example/xds", false, ("110152", "DCM", "Destination Role ID")),
        ],
        source: AuditSource {
            id: "ferro@hospital.example".to_owned(),
            enterprise_site: Some("Hospital".to_owned()),
            type_codes: vec![SourceType::of(codes::SOURCE_APPLICATION_SERVER)],
        },
        objects: vec![
            ParticipantObject {
                id: SecretString::from(format!("P-{place}^^^&2.999.1&ISO")),
                type_code: Some("1"),
                type_code_role: Some("1"),
                data_life_cycle: None,
                id_type_code: CodedValue::new("2", "RFC-3881", "Patient Number"),
                query: None,
                details: Vec::new(),
            },
            ParticipantObject {
                id: SecretString::from("urn:uuid:14d4debf-8f97-4251-9a74-a90016b0af0d".to_owned()),
                type_code: Some("2"),
                type_code_role: Some("24"),
                data_life_cycle: None,
                id_type_code: transaction,
                query: Some(SecretString::from("<AdhocQueryRequest/>".to_owned())),
                details: vec![("QueryEncoding".to_owned(), SecretString::from("UTF-8".to_owned()))],
            },
        ],
    }
}

fn participant(user: &str, requestor: bool, role: (&str, &str, &str)) -> ActiveParticipant {
    ActiveParticipant {
        user_id: user.to_owned(),
        alternative_user_id: Some("17".to_owned()),
        user_name: None,
        user_is_requestor: requestor,
        role_id_codes: vec![CodedValue::of(role)],
        access_point: Some(AccessPoint { type_code: "2", id: "192.0.2.9".to_owned() }),
    }
}
