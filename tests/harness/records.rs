//! CloudTrail records of our own in the shapes that AWS documents, from a seed: mostly what services and users do all
//! day, some sign-ins of the root user. And an oracle, written apart from the rule, that says which of them must fire.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::random::Random;

/// What a finding is identified by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct FindingKey {
    /// The rule's id.
    pub rule: String,
    /// The record's eventID.
    pub event: String,
    /// The account the record was delivered to, else the user's.
    pub account: String,
}

/// The finding that a record must lead to, if any: RTM-001, a successful console sign-in of the root user.
pub fn finding_of(record: &Value) -> Option<FindingKey> {
    let user = &record["userIdentity"];
    let fires = record["eventName"] == "ConsoleLogin"
        && user["type"] == "Root"
        && record["responseElements"]["ConsoleLogin"] == "Success"
        && user["sessionContext"]["assumedRoot"] != "true";
    let account = record["recipientAccountId"].as_str().or(user["accountId"].as_str());
    fires.then(|| FindingKey {
        rule: "RTM-001".to_owned(),
        event: record["eventID"].as_str().unwrap_or_default().to_owned(),
        account: account.unwrap_or_default().to_owned(),
    })
}

/// The findings that these records must lead to.
pub fn findings_of<'a>(records: impl IntoIterator<Item = &'a Value>) -> BTreeSet<FindingKey> {
    records.into_iter().filter_map(finding_of).collect()
}

/// An endless supply of records, the same for the same seed.
#[derive(Debug)]
pub struct Records {
    random: Random,
    made: u64,
}

impl Records {
    /// A supply whose records share no eventID with a supply of another seed.
    pub fn new(seed: u64) -> Records {
        Records { random: Random::new(seed), made: 0 }
    }

    /// The next `count` records, of which one in `root_every` is a successful root sign-in.
    pub fn take(&mut self, count: usize, root_every: usize) -> Vec<Value> {
        (0..count).map(|n| if n % root_every == root_every / 2 { self.root_sign_in() } else { self.noise() }).collect()
    }

    /// A record that fires: the root user has signed in, in one of the spellings that AWS uses.
    pub fn root_sign_in(&mut self) -> Value {
        let account = self.account();
        let mut record = self.sign_in(root(&account), "Success", &account);
        match self.random.below(5) {
            0 => record["additionalEventData"]["MFAUsed"] = json!("YES"),
            1 => record["additionalEventData"] = Value::Null,
            // Left out in AWS's own sample of an IAM user; the account is then the user's.
            2 => drop(record.as_object_mut().and_then(|record| record.remove("recipientAccountId"))),
            3 => record["sourceIPAddress"] = json!("signin.amazonaws.com"),
            _ => {}
        }
        record
    }

    /// A record that does not fire.
    pub fn noise(&mut self) -> Value {
        let account = self.account();
        match self.random.below(12) {
            0 => self.sign_in(root(&account), "Failure", &account),
            1 => self.sign_in(iam_user(&account, "maria"), "Success", &account),
            2 => self.sign_in(iam_user(&account, "root"), "Failure", &account),
            3 => {
                let mut record = self.sign_in(root(&account), "Success", &account);
                record["responseElements"] = Value::Null;
                record
            }
            4 => {
                let mut record = self.sign_in(root(&account), "Success", &account);
                record["eventName"] = json!("CheckMfa");
                record
            }
            5 => {
                let mut record = self.sign_in(root(&account), "Success", &account);
                record["userIdentity"]["sessionContext"] = json!({"assumedRoot": "true"});
                record
            }
            6 | 7 => self.call("s3.amazonaws.com", "GetObject", iam_user(&account, "backup"), &account),
            8 => self.call("ec2.amazonaws.com", "DescribeInstances", assumed_role(&account), &account),
            _ => {
                let service = json!({"type": "AWSService", "invokedBy": "lambda.amazonaws.com"});
                let mut record = self.call("sts.amazonaws.com", "AssumeRole", service, &account);
                record["sourceIPAddress"] = json!("lambda.amazonaws.com");
                record
            }
        }
    }

    /// Text that no codec makes smaller, for records that must be large on the wire.
    pub fn incompressible(&mut self, bytes: usize) -> String {
        const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        (0..bytes).map(|_| char::from(LETTERS[usize::try_from(self.random.below(64)).unwrap_or(0)])).collect()
    }

    /// A call of an API, as in the CloudTrail user guide's reference of record contents.
    fn call(&mut self, source: &str, name: &str, user: Value, account: &str) -> Value {
        let address = format!("198.51.100.{}", self.random.below(255));
        json!({
            "eventVersion": "1.11",
            "userIdentity": user,
            "eventTime": self.time(),
            "eventSource": source,
            "eventName": name,
            "awsRegion": "eu-central-1",
            "sourceIPAddress": address,
            "userAgent": "aws-cli/2.27.1 md/awscrt#0.26.1 ua/2.1 os/linux#6.1 \"quoted {braces}\" \u{1f512}",
            "requestParameters": {
                "bucketName": "our-backups", "Host": "our-backups.s3.eu-central-1.amazonaws.com",
                "key": format!("nightly/{}.tar.zst", self.random.below(100_000)),
            },
            "responseElements": null,
            "additionalEventData": {"SignatureVersion": "SigV4", "bytesTransferredOut": self.random.below(9_999)},
            "requestID": format!("{:016X}", self.random.next()),
            "eventID": self.event_id(),
            "readOnly": true,
            "resources": [{"type": "AWS::S3::Bucket", "ARN": "arn:aws:s3:::our-backups", "accountId": account}],
            "eventType": "AwsApiCall",
            "managementEvent": false,
            "recipientAccountId": account,
            "eventCategory": "Data",
            "tlsDetails": {"tlsVersion": "TLSv1.3", "cipherSuite": "TLS_AES_128_GCM_SHA256"},
        })
    }

    /// A sign-in to the console, as in the user guide's page on console sign-in events.
    fn sign_in(&mut self, user: Value, outcome: &str, account: &str) -> Value {
        let address = format!("203.0.113.{}", self.random.below(255));
        let mut record = json!({
            "eventVersion": "1.11",
            "userIdentity": user,
            "eventTime": self.time(),
            "eventSource": "signin.amazonaws.com",
            "eventName": "ConsoleLogin",
            "awsRegion": "us-east-1",
            "sourceIPAddress": address,
            "userAgent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
            "requestParameters": null,
            "responseElements": {"ConsoleLogin": outcome},
            "additionalEventData": {
                "LoginTo": "https://console.aws.amazon.com/console/home", "MobileVersion": "No", "MFAUsed": "No",
            },
            "eventID": self.event_id(),
            "readOnly": false,
            "eventType": "AwsConsoleSignIn",
            "managementEvent": true,
            "recipientAccountId": account,
            "eventCategory": "Management",
        });
        if outcome == "Failure" {
            record["errorMessage"] = json!("Failed authentication");
        }
        record
    }

    fn account(&mut self) -> String {
        format!("11112222{:04}", self.random.below(40))
    }

    fn time(&mut self) -> String {
        let (hour, minute, second) = (self.random.below(24), self.random.below(60), self.random.below(60));
        format!("2025-06-03T{hour:02}:{minute:02}:{second:02}Z")
    }

    /// Unique: the last group counts.
    fn event_id(&mut self) -> String {
        self.made += 1;
        let (a, b) = (self.random.next(), self.random.next());
        let made = self.made & 0xffff_ffff;
        format!(
            "{:08x}-{:04x}-4{:03x}-8{:03x}-{:04x}{made:08x}",
            a >> 32,
            a & 0xffff,
            b & 0xfff,
            b >> 52,
            b >> 12 & 0xffff
        )
    }
}

fn root(account: &str) -> Value {
    json!({
        "type": "Root", "principalId": account, "arn": format!("arn:aws:iam::{account}:root"),
        "accountId": account, "accessKeyId": "",
    })
}

fn iam_user(account: &str, name: &str) -> Value {
    json!({
        "type": "IAMUser", "principalId": "AIDAEXAMPLE", "arn": format!("arn:aws:iam::{account}:user/{name}"),
        "accountId": account, "userName": name,
    })
}

fn assumed_role(account: &str) -> Value {
    json!({
        "type": "AssumedRole", "principalId": "AROAEXAMPLE:session", "accountId": account,
        "arn": format!("arn:aws:sts::{account}:assumed-role/reader/session"),
        "sessionContext": {
            "sessionIssuer": {"type": "Role", "principalId": "AROAEXAMPLE", "accountId": account, "userName": "reader"},
            "attributes": {"creationDate": "2025-06-03T08:00:00Z", "mfaAuthenticated": "false"},
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_records_with_unique_ids_and_the_oracle_agrees_with_the_maker() {
        let records = Records::new(1).take(5_000, 50);
        assert_eq!(records, Records::new(1).take(5_000, 50));
        let ids: BTreeSet<&str> = records.iter().filter_map(|record| record["eventID"].as_str()).collect();
        assert_eq!(ids.len(), 5_000);
        assert!(ids.iter().all(|id| id.len() == 36), "{:?}", ids.first());
        assert_eq!(findings_of(&records).len(), 100);
        let mut supply = Records::new(2);
        assert!((0..1_000).all(|_| finding_of(&supply.noise()).is_none()));
        assert!((0..1_000).all(|_| finding_of(&supply.root_sign_in()).is_some()));
    }
}
