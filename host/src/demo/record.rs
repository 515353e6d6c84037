//! CloudTrail records as text, with the fields in CloudTrail's own order, and the everyday calls that most of them are.
//!
//! Account ids are those of AWS's documentation, addresses those that RFC 5737 keeps for documentation.

use serde::Serialize;
use serde_json::{Value, json};

use super::random::Random;

/// The accounts of the demo's organization.
pub(super) const ACCOUNTS: [&str; 4] = ["111122223333", "444455556666", "123456789012", "777788889999"];

const REGIONS: [&str; 4] = ["us-east-1", "eu-west-1", "eu-central-1", "ap-southeast-2"];
const NETWORKS: [&str; 3] = ["192.0.2", "198.51.100", "203.0.113"];
const USERS: [&str; 4] = ["alice", "mateo", "terraform", "backup"];
const ROLES: [(&str, &str); 4] =
    [("Deploy", "build-4711"), ("OrdersService", "orders"), ("ReadOnly", "maria"), ("DataPipeline", "nightly")];
const SERVICES: [&str; 4] =
    ["lambda.amazonaws.com", "autoscaling.amazonaws.com", "config.amazonaws.com", "ecs.amazonaws.com"];
const AGENTS: [&str; 4] = [
    "aws-cli/2.27.31 md/awscrt#0.26.1 ua/2.1 os/linux#6.8 lang/python#3.13.3",
    "Boto3/1.38.20 md/Botocore#1.38.20 ua/2.1 os/linux#6.1",
    "aws-sdk-go-v2/1.36.3 ua/2.1 os/linux lang/go#1.24.3",
    "APN/1.0 HashiCorp/1.0 Terraform/1.12.1",
];

/// What a record is about: CloudTrail logs management events by default, data events on request.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Read,
    Write,
    Data,
}

/// A call of an API. `#` in a parameter stands for a number.
type Call = (&'static str, &'static str, Kind, &'static [(&'static str, &'static str)]);

const CALLS: [Call; 20] = [
    ("s3", "GetObject", Kind::Data, &[("bucketName", "amzn-s3-demo-bucket"), ("key", "orders/2025/#.parquet")]),
    ("s3", "GetObject", Kind::Data, &[("bucketName", "amzn-s3-demo-bucket1"), ("key", "images/{#}.png")]),
    ("s3", "PutObject", Kind::Data, &[("bucketName", "amzn-s3-demo-bucket2"), ("key", "backup/#.tar.zst")]),
    ("s3", "GetBucketAcl", Kind::Read, &[("bucketName", "amzn-s3-demo-bucket"), ("acl", "")]),
    ("ec2", "DescribeInstances", Kind::Read, &[("filterSet", "{}"), ("maxResults", "#")]),
    ("ec2", "DescribeVolumes", Kind::Read, &[("volumeSet", "{}")]),
    ("ec2", "RunInstances", Kind::Write, &[("instanceType", "t3.micro"), ("imageId", "ami-0abcdef1234567890")]),
    ("sts", "AssumeRole", Kind::Read, &[("roleSessionName", "session-#"), ("durationSeconds", "3600")]),
    ("sts", "GetCallerIdentity", Kind::Read, &[]),
    ("kms", "Decrypt", Kind::Read, &[("encryptionAlgorithm", "SYMMETRIC_DEFAULT")]),
    ("kms", "GenerateDataKey", Kind::Read, &[("keySpec", "AES_256"), ("keyId", "alias/orders")]),
    (
        "logs",
        "CreateLogStream",
        Kind::Write,
        &[("logGroupName", "/aws/lambda/orders"), ("logStreamName", "[$LATEST]#")],
    ),
    ("lambda", "Invoke", Kind::Data, &[("functionName", "orders"), ("invocationType", "Event")]),
    ("lambda", "UpdateFunctionCode20150331v2", Kind::Write, &[("functionName", "orders"), ("dryRun", "false")]),
    ("dynamodb", "GetItem", Kind::Data, &[("tableName", "Orders"), ("consistentRead", "false")]),
    ("iam", "ListRoles", Kind::Read, &[("maxItems", "#")]),
    ("secretsmanager", "GetSecretValue", Kind::Read, &[("secretId", "orders/database")]),
    ("ssm", "GetParameter", Kind::Read, &[("name", "/orders/limit"), ("withDecryption", "true")]),
    ("cloudformation", "DescribeStacks", Kind::Read, &[("stackName", "orders-#")]),
    ("monitoring", "PutMetricAlarm", Kind::Write, &[("alarmName", "orders are \"late\" \u{23f0}")]),
];

/// A record, with what its envelope must know of it.
#[derive(Clone, Debug)]
pub(super) struct Record {
    /// One line of JSON.
    pub(super) json: String,
    pub(super) event_id: String,
    pub(super) account: &'static str,
    pub(super) region: &'static str,
    /// eventSource.
    pub(super) source: String,
    /// In seconds since the epoch.
    pub(super) time: i64,
    pub(super) sign_in: bool,
    /// Whether the root user has signed in with it.
    pub(super) root_signed_in: bool,
    /// Whether it says that no second factor was used.
    pub(super) without_mfa: bool,
}

/// A record's fields (CloudTrail user guide, "CloudTrail record contents").
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Fields {
    event_version: &'static str,
    pub(super) user_identity: Value,
    event_time: String,
    pub(super) event_source: String,
    pub(super) event_name: &'static str,
    pub(super) aws_region: &'static str,
    #[serde(rename = "sourceIPAddress")]
    pub(super) source_ip_address: String,
    pub(super) user_agent: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error_code: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error_message: Option<String>,
    pub(super) request_parameters: Value,
    pub(super) response_elements: Value,
    #[serde(skip_serializing_if = "Value::is_null")]
    pub(super) additional_event_data: Value,
    #[serde(rename = "requestID", skip_serializing_if = "Option::is_none")]
    request_id: Option<String>,
    #[serde(rename = "eventID")]
    event_id: String,
    pub(super) read_only: bool,
    pub(super) event_type: &'static str,
    pub(super) management_event: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) recipient_account_id: Option<&'static str>,
    pub(super) event_category: &'static str,
    #[serde(skip_serializing_if = "Value::is_null")]
    pub(super) tls_details: Value,
}

impl Fields {
    /// A management event of `account` with the parts that all records have.
    pub(super) fn new(random: &mut Random, account: &'static str, user_identity: Value, time: i64) -> Fields {
        Fields {
            event_version: "1.11",
            user_identity,
            event_time: timestamp(time),
            event_source: String::new(),
            event_name: "",
            aws_region: random.pick(&REGIONS),
            source_ip_address: address(random),
            user_agent: random.pick(&AGENTS).to_owned(),
            error_code: None,
            error_message: None,
            request_parameters: Value::Null,
            response_elements: Value::Null,
            additional_event_data: Value::Null,
            request_id: Some(random.uuid()),
            event_id: random.uuid(),
            read_only: true,
            event_type: "AwsApiCall",
            management_event: true,
            recipient_account_id: Some(account),
            event_category: "Management",
            tls_details: json!({"tlsVersion": "TLSv1.3", "cipherSuite": "TLS_AES_128_GCM_SHA256"}),
        }
    }

    /// The record's text. Serialization into a string does not fail: no map here has keys that are not strings.
    pub(super) fn finish(self, account: &'static str, time: i64, root_signed_in: bool) -> Record {
        Record {
            json: serde_json::to_string(&self).unwrap_or_default(),
            event_id: self.event_id,
            account,
            region: self.aws_region,
            source: self.event_source,
            time,
            sign_in: self.event_type == "AwsConsoleSignIn",
            root_signed_in,
            without_mfa: self.additional_event_data.get("MFAUsed").is_some_and(|mfa| mfa == "No"),
        }
    }
}

/// What services, roles and users do all day.
pub(super) fn everyday(random: &mut Random, time: i64) -> Record {
    let account = random.pick(&ACCOUNTS);
    let (service, name, kind, parameters) = random.pick(&CALLS);
    let (user, by) = match random.below(4) {
        0 => iam_user(random, account),
        1 => {
            let by = random.pick(&SERVICES);
            (json!({"type": "AWSService", "invokedBy": by}), Some(by))
        }
        _ => role(random, account, time),
    };
    let mut fields = Fields::new(random, account, user, time);
    fields.event_source = format!("{service}.amazonaws.com");
    fields.event_name = name;
    fields.read_only = kind != Kind::Write && name != "PutObject" && name != "Invoke";
    if kind == Kind::Data {
        (fields.management_event, fields.event_category) = (false, "Data");
        fields.additional_event_data = json!({"SignatureVersion": "SigV4", "bytesTransferredOut": random.below(1 << 20), "x-amz-id-2": random.uuid()});
    }
    let parameters = parameters.iter().map(|(key, value)| {
        let value = value.replace('#', &random.below(100_000).to_string());
        ((*key).to_owned(), Value::from(value))
    });
    fields.request_parameters =
        Some(parameters.collect::<serde_json::Map<_, _>>()).filter(|map| !map.is_empty()).into();
    if let Some(by) = by {
        (fields.source_ip_address, fields.user_agent, fields.tls_details) = (by.to_owned(), by.to_owned(), Value::Null);
    }
    if random.once_in(40) {
        fields.error_code = Some("AccessDenied");
        let who = fields.user_identity.get("arn").and_then(Value::as_str).unwrap_or("anonymous");
        fields.error_message = Some(format!("User: {who} is not authorized to perform: {service}:{name}"));
    } else if kind == Kind::Write {
        fields.response_elements = json!({"_return": true, "requestId": random.uuid()});
    }
    fields.finish(account, time, false)
}

fn iam_user(random: &mut Random, account: &str) -> (Value, Option<&'static str>) {
    let name = random.pick(&USERS);
    let user = json!({
        "type": "IAMUser", "principalId": "AIDAIOSFODNN7EXAMPLE", "arn": format!("arn:aws:iam::{account}:user/{name}"),
        "accountId": account, "accessKeyId": "AKIAIOSFODNN7EXAMPLE", "userName": name,
    });
    (user, None)
}

fn role(random: &mut Random, account: &str, time: i64) -> (Value, Option<&'static str>) {
    let (name, session) = random.pick(&ROLES);
    let user = json!({
        "type": "AssumedRole", "principalId": format!("AROAIOSFODNN7EXAMPLE:{session}"),
        "arn": format!("arn:aws:sts::{account}:assumed-role/{name}/{session}"),
        "accountId": account, "accessKeyId": "ASIAIOSFODNN7EXAMPLE",
        "sessionContext": {
            "sessionIssuer": {
                "type": "Role", "principalId": "AROAIOSFODNN7EXAMPLE", "accountId": account, "userName": name,
                "arn": format!("arn:aws:iam::{account}:role/{name}"),
            },
            "attributes": {"creationDate": timestamp(time - 900), "mfaAuthenticated": "false"},
        },
    });
    (user, None)
}

/// An address of one of RFC 5737's networks.
fn address(random: &mut Random) -> String {
    format!("{}.{}", random.pick(&NETWORKS), 1 + random.below(254))
}

/// Seconds since the epoch as CloudTrail writes times.
pub(super) fn timestamp(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).map(|time| time.to_string()).unwrap_or_default()
}
