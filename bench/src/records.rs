//! Made-up CloudTrail records, about 1,450 bytes each, as an account has them: services and roles that read and write,
//! some calls of the table's rules, some sign-ins that are none of root's, and sign-ins of root at a given share.
//!
//! The fields stand in CloudTrail's own order, because it matters how far into a record `eventName` is.

use crate::random::Random;
use crate::table;

const ACCOUNTS: [&str; 4] = ["111122223333", "444455556666", "123456789012", "777788889999"];
const REGIONS: [&str; 5] = ["us-east-1", "us-west-2", "eu-west-1", "eu-central-1", "ap-southeast-2"];
const USERS: [&str; 5] = ["alice", "mateo", "terraform", "backup", "nightly-report"];
const ROLES: [&str; 5] = ["Deploy", "OrdersService", "ReadOnly", "DataPipeline", "AWSServiceRoleForConfig"];
const SERVICES: [&str; 5] = ["delivery.logs", "config", "lambda", "autoscaling", "cloudtrail"];
const AGENTS: [&str; 5] = [
    "aws-cli/2.27.31 md/awscrt#0.26.1 ua/2.1 os/linux#6.8 md/arch#x86_64 lang/python#3.13.3 cfg/retry-mode#standard",
    "Boto3/1.38.20 md/Botocore#1.38.20 ua/2.1 os/linux#6.1 lang/python#3.12.8",
    "aws-sdk-go-v2/1.36.3 ua/2.1 os/linux lang/go#1.24.3 md/GOARCH#amd64 api/s3#1.79.2",
    "APN/1.0 HashiCorp/1.0 Terraform/1.12.1 (+https://example.com) terraform-provider-aws/5.98.0",
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/137.0.0.0 Safari/537.36",
];
const READS: [(&str, &str); 8] = [
    ("ec2", "DescribeInstances"),
    ("ec2", "DescribeNetworkInterfaces"),
    ("s3", "GetBucketAcl"),
    ("iam", "ListRoles"),
    ("sts", "GetCallerIdentity"),
    ("rds", "DescribeDBInstances"),
    ("ssm", "GetParameters"),
    ("cloudformation", "DescribeStacks"),
];

const TLS: &str = r#","tlsDetails":{"tlsVersion":"TLSv1.3","cipherSuite":"TLS_AES_128_GCM_SHA256"}"#;

/// How many of the table's rules the sixty modules have; half of the table's calls are theirs.
const FEW: usize = 59;

/// What differs between calls. Texts are JSON.
struct Call {
    source: &'static str,
    name: String,
    user: String,
    read_only: bool,
    parameters: String,
    response: String,
    /// Fields behind responseElements, each with its comma.
    rest: String,
    kind: &'static str,
}

/// Makes `count` records. Of every `root_every` records the last is a sign-in of root, none where it is 0.
pub(crate) fn make(seed: u64, count: usize, root_every: usize) -> impl Iterator<Item = String> {
    let mut random = Random::new(seed);
    (0..count).map(move |number| {
        let account = random.pick(&ACCOUNTS);
        let call = if root_every > 0 && number % root_every == root_every - 1 {
            sign_in(&mut random, account, root(account), "Success")
        } else {
            everyday(&mut random, account)
        };
        render(&mut random, number, account, call)
    })
}

/// What is not a sign-in of root.
fn everyday(random: &mut Random, account: &str) -> Call {
    match random.below(100) {
        0 | 1 => of_the_table(random, account),
        2 => {
            let (user, outcome) =
                if random.below(2) == 0 { (root(account), "Failure") } else { (iam_user(random, account), "Success") };
            sign_in(random, account, user, outcome)
        }
        3..40 => object(random, account),
        40..60 => data_key(random, account),
        60..85 => read(random, account),
        85..95 => assume_role(random, account),
        _ => run_instances(random, account),
    }
}

fn of_the_table(random: &mut Random, account: &str) -> Call {
    let rules = if random.below(2) == 0 { FEW } else { table::RULES };
    let name = table::event_name(random.below(rules));
    let user = if random.below(2) == 0 { iam_user(random, account) } else { role(random, account) };
    let statement =
        r#"{\"Version\":\"2012-10-17\",\"Statement\":[{\"Effect\":\"Allow\",\"Action\":\"s3:*\",\"Resource\":\"*\"}]}"#;
    let parameters = format!(r#"{{"name":"orders-{}","document":"{statement}"}}"#, random.token(6));
    let response = format!(r#"{{"requestId":"{}","_return":true}}"#, random.uuid());
    Call { source: "iam", name, user, read_only: false, parameters, response, rest: String::new(), kind: "AwsApiCall" }
}

fn sign_in(random: &mut Random, account: &str, user: String, outcome: &str) -> Call {
    let mfa = random.pick(&["Yes", "No"]);
    let rest = format!(
        r#""additionalEventData":{{"LoginTo":"https://console.example.com/console/home?state=hashArgs%23&isauthcode=true&account={account}&nonce={}","MobileVersion":"No","MFAUsed":"{mfa}"}},"#,
        random.token(420)
    );
    Call {
        source: "signin",
        name: "ConsoleLogin".to_owned(),
        user,
        read_only: false,
        parameters: "null".to_owned(),
        response: format!(r#"{{"ConsoleLogin":"{outcome}"}}"#),
        rest,
        kind: "AwsConsoleSignIn",
    }
}

/// Data events: what most records of a busy account are.
fn object(random: &mut Random, account: &str) -> Call {
    let (region, put) = (random.pick(&REGIONS), random.below(3) > 0);
    let key = format!("AWSLogs/{account}/vpcflowlogs/{region}/2025/06/02/{}_{}.log.gz", account, random.token(28));
    let user = if put { service(random) } else { role(random, account) };
    let bucket = random.pick(&["amzn-s3-demo-bucket", "amzn-s3-demo-bucket1", "amzn-s3-demo-logging-bucket"]);
    let parameters = format!(r#"{{"bucketName":"{bucket}","x-amz-acl":"bucket-owner-full-control","key":"{key}"}}"#);
    let rest = format!(
        r#""additionalEventData":{{"SignatureVersion":"SigV4","CipherSuite":"TLS_AES_128_GCM_SHA256","bytesTransferredIn":{}.0,"AuthenticationMethod":"AuthHeader","x-amz-id-2":"{}=","bytesTransferredOut":243.0}},"resources":[{{"type":"AWS::S3::Object","ARN":"arn:aws:s3:::{bucket}/{key}"}},{{"accountId":"{account}","type":"AWS::S3::Bucket","ARN":"arn:aws:s3:::{bucket}"}}],"#,
        random.below(1 << 20),
        random.token(75)
    );
    let name = if put { "PutObject" } else { "GetObject" }.to_owned();
    let response = r#"{"x-amz-server-side-encryption":"AES256"}"#;
    let response = if put { response } else { "null" }.to_owned();
    Call { source: "s3", name, user, read_only: !put, parameters, response, rest, kind: "AwsApiCall" }
}

fn data_key(random: &mut Random, account: &str) -> Call {
    let key = format!("arn:aws:kms:{}:{account}:key/{}", random.pick(&REGIONS), random.uuid());
    let context = format!("arn:aws:cloudtrail:us-east-1:{account}:trail/organization");
    let parameters = format!(
        r#"{{"keyId":"{key}","encryptionContext":{{"aws:cloudtrail:arn":"{context}","aws:s3:arn":"arn:aws:s3:::amzn-s3-demo-logging-bucket/AWSLogs/{account}/CloudTrail/us-east-1/2025/06/02/{account}_CloudTrail_{}.json.gz"}},"keySpec":"AES_256"}}"#,
        random.token(20)
    );
    let rest = format!(r#""resources":[{{"accountId":"{account}","type":"AWS::KMS::Key","ARN":"{key}"}}],"#);
    let name = random.pick(&["GenerateDataKey", "Decrypt"]).to_owned();
    let user = if random.below(2) == 0 { service(random) } else { role(random, account) };
    let response = "null".to_owned();
    Call { source: "kms", name, user, read_only: true, parameters, response, rest, kind: "AwsApiCall" }
}

fn read(random: &mut Random, account: &str) -> Call {
    let (source, name) = random.pick(&READS);
    let user = if random.below(4) == 0 { iam_user(random, account) } else { role(random, account) };
    let parameters = format!(
        r#"{{"maxResults":{},"filterSet":{{"items":[{{"name":"tag:team","valueSet":{{"items":[{{"value":"orders"}},{{"value":"payments"}}]}}}}]}},"nextToken":"{}"}}"#,
        1 + random.below(1_000),
        random.token(60)
    );
    // Now and then somebody may not.
    let rest = match random.below(20) {
        0 => format!(
            r#""errorCode":"AccessDenied","errorMessage":"User: {account} is not authorized to perform: {source}:{name} because no identity-based policy allows the \"{source}:{name}\" action","#
        ),
        _ => String::new(),
    };
    let name = name.to_owned();
    Call { source, name, user, read_only: true, parameters, response: "null".to_owned(), rest, kind: "AwsApiCall" }
}

fn assume_role(random: &mut Random, account: &str) -> Call {
    let (role, session) = (random.pick(&ROLES), random.token(16));
    let arn = format!("arn:aws:iam::{account}:role/{role}");
    let parameters = format!(r#"{{"roleArn":"{arn}","roleSessionName":"{session}","durationSeconds":3600}}"#);
    let response = format!(
        r#"{{"credentials":{{"accessKeyId":"ASIAIOSFODNN7EXAMPLE","sessionToken":"{}","expiration":"Jun 2, 2025, 7:00:00 AM"}},"assumedRoleUser":{{"assumedRoleId":"AROAIOSFODNN7EXAMPLE:{session}","arn":"arn:aws:sts::{account}:assumed-role/{role}/{session}"}}}}"#,
        random.token(340)
    );
    let rest = format!(r#""resources":[{{"accountId":"{account}","type":"AWS::IAM::Role","ARN":"{arn}"}}],"#);
    let (name, user) = ("AssumeRole".to_owned(), service(random));
    Call { source: "sts", name, user, read_only: true, parameters, response, rest, kind: "AwsApiCall" }
}

/// The long ones: lists of objects, and text with escapes.
fn run_instances(random: &mut Random, account: &str) -> Call {
    let instances: Vec<String> = (0..1 + random.below(2))
        .map(|_| {
            format!(
                r#"{{"instanceId":"i-{}","imageId":"ami-0abcdef1234567890","instanceState":{{"code":0,"name":"pending"}},"privateDnsName":"ip-10-0-0-1.ec2.internal","amiLaunchIndex":0,"instanceType":"t3.micro","launchTime":1748844000000,"placement":{{"availabilityZone":"us-east-1a","tenancy":"default"}},"monitoring":{{"state":"disabled"}},"subnetId":"subnet-{}","groupSet":{{"items":[{{"groupId":"sg-{}","groupName":"orders \"blue\" \u2192 green"}}]}}}}"#,
                random.token(17),
                random.token(17),
                random.token(17)
            )
        })
        .collect();
    let response = format!(
        r#"{{"requestId":"{}","ownerId":"{account}","instancesSet":{{"items":[{}]}}}}"#,
        random.uuid(),
        instances.join(",")
    );
    let parameters = format!(
        r#"{{"instancesSet":{{"items":[{{"imageId":"ami-0abcdef1234567890","minCount":1,"maxCount":{}}}]}},"userData":"<sensitiveDataRemoved>","instanceType":"t3.micro","clientToken":"{}"}}"#,
        instances.len(),
        random.uuid()
    );
    let (name, user) = ("RunInstances".to_owned(), role(random, account));
    Call { source: "ec2", name, user, read_only: false, parameters, response, rest: String::new(), kind: "AwsApiCall" }
}

fn root(account: &str) -> String {
    format!(
        r#"{{"type":"Root","principalId":"{account}","arn":"arn:aws:iam::{account}:root","accountId":"{account}","accessKeyId":""}}"#
    )
}

fn iam_user(random: &mut Random, account: &str) -> String {
    let name = random.pick(&USERS);
    format!(
        r#"{{"type":"IAMUser","principalId":"AIDAIOSFODNN7EXAMPLE","arn":"arn:aws:iam::{account}:user/{name}","accountId":"{account}","accessKeyId":"AKIAIOSFODNN7EXAMPLE","userName":"{name}","sessionContext":{{"attributes":{{"creationDate":"2025-06-02T05:45:00Z","mfaAuthenticated":"true"}}}}}}"#
    )
}

fn role(random: &mut Random, account: &str) -> String {
    let (name, session) = (random.pick(&ROLES), random.token(12));
    format!(
        r#"{{"type":"AssumedRole","principalId":"AROAIOSFODNN7EXAMPLE:{session}","arn":"arn:aws:sts::{account}:assumed-role/{name}/{session}","accountId":"{account}","accessKeyId":"ASIAIOSFODNN7EXAMPLE","sessionContext":{{"sessionIssuer":{{"type":"Role","principalId":"AROAIOSFODNN7EXAMPLE","arn":"arn:aws:iam::{account}:role/{name}","accountId":"{account}","userName":"{name}"}},"attributes":{{"creationDate":"2025-06-02T05:45:00Z","mfaAuthenticated":"false"}}}}}}"#
    )
}

fn service(random: &mut Random) -> String {
    format!(r#"{{"type":"AWSService","invokedBy":"{}.amazonaws.com"}}"#, random.pick(&SERVICES))
}

fn render(random: &mut Random, number: usize, account: &str, call: Call) -> String {
    let Call { source, name, user, read_only, parameters, response, rest, kind } = call;
    let (minute, second) = (number / 60 % 60, number % 60);
    let (region, agent) = (random.pick(&REGIONS), random.pick(&AGENTS));
    let address = format!("198.51.100.{}", 1 + random.below(254));
    let (request, event) = (random.uuid(), random.uuid());
    // Services call from within.
    let tls = if user.contains("invokedBy") { "" } else { TLS };
    format!(
        r#"{{"eventVersion":"1.11","userIdentity":{user},"eventTime":"2025-06-02T06:{minute:02}:{second:02}Z","eventSource":"{source}.amazonaws.com","eventName":"{name}","awsRegion":"{region}","sourceIPAddress":"{address}","userAgent":"{agent}","requestParameters":{parameters},"responseElements":{response},{rest}"requestID":"{request}","eventID":"{event}","readOnly":{read_only},"eventType":"{kind}","managementEvent":true,"recipientAccountId":"{account}","eventCategory":"Management"{tls}}}"#
    )
}
