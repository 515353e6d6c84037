//! What happens now and then among the everyday calls: sign-ins, the root user at work, and things that are no records.

use serde_json::{Value, json};

use super::random::Random;
use super::record::{ACCOUNTS, Fields, Record, everyday, timestamp};

/// What the traffic is made of.
#[derive(Clone, Debug)]
pub(super) enum Entry {
    /// A record.
    Record(Box<Record>),
    /// A record that was cut off: one line that is no JSON.
    Broken(String),
    /// A digest file: hashes of log files, no events.
    Digest(String),
    /// CloudWatch Logs asks whether the destination of a subscription is there.
    Control(String),
    /// A Kafka message without a value.
    Tombstone,
}

impl Entry {
    /// The record that it is.
    pub(super) fn record(&self) -> Option<&Record> {
        match self {
            Entry::Record(record) => Some(record),
            _ => None,
        }
    }
}

/// How many scenes there are before they begin again.
pub(super) const SCENES: usize = 13;

const BROWSER: &str = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) \
    Chrome/141.0.0.0 Safari/537.36";

/// Plays scenes behind what was made so far.
pub(super) struct Stage<'a> {
    pub(super) random: &'a mut Random,
    pub(super) entries: &'a mut Vec<Entry>,
}

/// Who signs in, and how it ends.
struct SignIn {
    user: Value,
    name: &'static str,
    outcome: &'static str,
    /// additionalEventData.MFAUsed; AWS's samples have `YES` for root and `Yes` for users, and some have nothing.
    mfa: Option<&'static str>,
}

impl Stage<'_> {
    /// Plays scene `number` of the cycle at `time`, in seconds since the epoch.
    pub(super) fn play(&mut self, number: usize, time: i64) {
        let account = self.random.pick(&ACCOUNTS);
        match number % SCENES {
            0 => self.root(account, "Success", Some("YES"), time),
            1 => {
                self.root(account, "Failure", Some("No"), time - 40);
                self.root(account, "Failure", Some("No"), time - 20);
                self.root(account, "Success", Some("No"), time);
            }
            2 => self.entries.push(Entry::Digest(digest(account, time))),
            3 => self.federated_by_root(account, time),
            4 => self.delivered_again(),
            5 => self.central_root_access(account, time),
            6 => self.entries.push(Entry::Control(control(account, time))),
            7 => self.root_of_older_record(account, time),
            8 => self.entries.push(Entry::Tombstone),
            9 => {
                self.sign_in(account, SignIn { name: "CheckMfa", ..root(account, "Success", Some("Yes")) }, time - 9);
                self.root(account, "Success", Some("Yes"), time);
            }
            10 => self.broken(time),
            11 => self.user_named_root(account, time),
            _ => self.root_access_key(account, time),
        }
    }

    fn push(&mut self, record: Record) {
        self.entries.push(Entry::Record(Box::new(record)));
    }

    /// CloudTrail user guide, "AWS Management Console sign-in events".
    fn sign_in_fields(&mut self, account: &'static str, sign_in: SignIn, time: i64) -> Fields {
        let mut fields = Fields::new(self.random, account, sign_in.user, time);
        fields.event_source = "signin.amazonaws.com".to_owned();
        fields.event_name = sign_in.name;
        fields.aws_region = "us-east-1";
        fields.user_agent = BROWSER.to_owned();
        fields.response_elements = json!({sign_in.name: sign_in.outcome});
        fields.additional_event_data =
            json!({"LoginTo": "https://console.aws.amazon.com/console/home", "MobileVersion": "No"});
        if let (Some(mfa), Some(data)) = (sign_in.mfa, fields.additional_event_data.as_object_mut()) {
            data.insert("MFAUsed".to_owned(), mfa.into());
        }
        if sign_in.outcome == "Failure" {
            fields.error_message = Some("Failed authentication".to_owned());
        }
        (fields.read_only, fields.event_type) = (false, "AwsConsoleSignIn");
        fields
    }

    fn sign_in(&mut self, account: &'static str, sign_in: SignIn, time: i64) {
        let fields = self.sign_in_fields(account, sign_in, time);
        self.push(fields.finish(account, time, false));
    }

    fn root(&mut self, account: &'static str, outcome: &'static str, mfa: Option<&'static str>, time: i64) {
        let fields = self.sign_in_fields(account, root(account, outcome, mfa), time);
        self.push(fields.finish(account, time, outcome == "Success"));
    }

    /// Older records say nothing of a second factor, and may lack recipientAccountId.
    fn root_of_older_record(&mut self, account: &'static str, time: i64) {
        let mut fields = self.sign_in_fields(account, root(account, "Success", None), time);
        (fields.recipient_account_id, fields.tls_details) = (None, Value::Null);
        self.push(fields.finish(account, time, true));
    }

    /// A session that the root user's credentials were exchanged for: no sign-in of root.
    fn federated_by_root(&mut self, account: &'static str, time: i64) {
        let user = json!({
            "type": "FederatedUser", "principalId": format!("{account}:grace"), "accountId": account,
            "arn": format!("arn:aws:sts::{account}:federated-user/grace"), "accessKeyId": "ASIAIOSFODNN7EXAMPLE",
            "sessionContext": {
                "sessionIssuer": {
                    "type": "Root", "principalId": account, "accountId": account,
                    "arn": format!("arn:aws:iam::{account}:root"),
                },
                "attributes": {"creationDate": timestamp(time - 60), "mfaAuthenticated": "false"},
            },
        });
        self.sign_in(account, SignIn { user, name: "ConsoleLogin", outcome: "Success", mfa: Some("No") }, time);
    }

    /// The last sign-in and two other records arrive a second time, with the same eventIDs.
    fn delivered_again(&mut self) {
        let is_sign_in = |entry: &&Entry| entry.record().is_some_and(|record| record.root_signed_in);
        let is_call = |entry: &&Entry| entry.record().is_some_and(|record| !record.sign_in);
        let mut again: Vec<Entry> = self.entries.iter().rev().filter(is_call).skip(20).take(2).cloned().collect();
        again.extend(self.entries.iter().rev().find(is_sign_in).cloned());
        self.entries.extend(again);
    }

    /// Central root access: sts:AssumeRoot makes sessions of the type Root in which nobody signed in (IAM user guide,
    /// "Track privileged tasks in AWS CloudTrail").
    fn central_root_access(&mut self, account: &'static str, time: i64) {
        let admin = json!({
            "type": "AssumedRole", "principalId": "AROAIOSFODNN7EXAMPLE:ada", "accountId": account,
            "arn": format!("arn:aws:sts::{account}:assumed-role/OrgAdmin/ada"), "accessKeyId": "ASIAIOSFODNN7EXAMPLE",
        });
        let mut call = Fields::new(self.random, account, admin, time - 30);
        (call.event_source, call.event_name) = ("sts.amazonaws.com".to_owned(), "AssumeRoot");
        call.request_parameters = json!({
            "targetPrincipal": account,
            "taskPolicyArn": {"arn": "arn:aws:iam::aws:policy/root-task/S3UnlockBucketPolicy"},
        });
        self.push(call.finish(account, time - 30, false));
        let session = json!({"attributes": {"creationDate": timestamp(time - 30)}, "assumedRoot": "true"});
        let mut sign_in = root(account, "Success", Some("No"));
        sign_in.user["sessionContext"] = session.clone();
        let mut work = Fields::new(self.random, account, sign_in.user.clone(), time - 10);
        (work.event_source, work.event_name) = ("s3.amazonaws.com".to_owned(), "DeleteBucketPolicy");
        work.request_parameters = json!({"bucketName": "amzn-s3-demo-bucket"});
        work.read_only = false;
        self.push(work.finish(account, time - 10, false));
        self.sign_in(account, sign_in, time);
    }

    fn user_named_root(&mut self, account: &'static str, time: i64) {
        let user = json!({
            "type": "IAMUser", "principalId": "AIDAIOSFODNN7EXAMPLE", "arn": format!("arn:aws:iam::{account}:user/root"),
            "accountId": account, "userName": "root",
        });
        self.sign_in(account, SignIn { user, name: "ConsoleLogin", outcome: "Success", mfa: Some("No") }, time);
    }

    /// Work of the root user, which is no sign-in.
    fn root_access_key(&mut self, account: &'static str, time: i64) {
        let mut user = root(account, "Success", None).user;
        user["accessKeyId"] = "AKIAIOSFODNN7EXAMPLE".into();
        let mut fields = Fields::new(self.random, account, user, time);
        (fields.event_source, fields.event_name) = ("s3.amazonaws.com".to_owned(), "ListBuckets");
        self.push(fields.finish(account, time, false));
    }

    fn broken(&mut self, time: i64) {
        let mut line = everyday(self.random, time).json;
        line.truncate(line.floor_char_boundary(line.len() / 2));
        self.entries.push(Entry::Broken(line));
    }
}

fn root(account: &str, outcome: &'static str, mfa: Option<&'static str>) -> SignIn {
    let user = json!({
        "type": "Root", "principalId": account, "arn": format!("arn:aws:iam::{account}:root"), "accountId": account,
        "accessKeyId": "",
    });
    SignIn { user, name: "ConsoleLogin", outcome, mfa }
}

/// CloudTrail user guide, "CloudTrail digest file structure".
fn digest(account: &str, time: i64) -> String {
    let (start, end) = (timestamp(time - 3_600), timestamp(time));
    let file = format!("AWSLogs/{account}/CloudTrail/eu-west-1/2025/06/02/{account}_CloudTrail_eu-west-1.json.gz");
    json!({
        "awsAccountId": account, "digestStartTime": start, "digestEndTime": end,
        "digestS3Bucket": "amzn-s3-demo-bucket-trail", "digestSignatureAlgorithm": "SHA256withRSA",
        "previousDigestS3Bucket": null,
        "logFiles": [{"s3Bucket": "amzn-s3-demo-bucket-trail", "s3Object": file, "hashAlgorithm": "SHA-256"}],
    })
    .to_string()
}

/// CloudWatch Logs user guide, "Log group-level subscription filters": the control message.
fn control(account: &str, time: i64) -> String {
    json!({
        "messageType": "CONTROL_MESSAGE", "owner": "CloudwatchLogs", "logGroup": "", "logStream": "",
        "subscriptionFilters": [], "logEvents": [{
            "id": "", "timestamp": time * 1_000,
            "message": format!("CWL CONTROL MESSAGE: Checking health of destination Firehose. {account}"),
        }],
    })
    .to_string()
}
