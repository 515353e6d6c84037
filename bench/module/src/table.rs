//! The table of selective rules: rule N fires when an IAM user makes the call N. Shared by the module, by the records
//! and by the same rules in the peers' language.

/// How many rules the table has.
pub(crate) const RULES: usize = VERBS.len() * NOUNS.len();

/// The `userIdentity.type` on which every rule fires.
pub(crate) const USER_TYPE: &str = "IAMUser";

const VERBS: [&str; 20] = [
    "Create",
    "Delete",
    "Update",
    "Put",
    "Attach",
    "Detach",
    "Modify",
    "Disable",
    "Enable",
    "Stop",
    "Start",
    "Remove",
    "Add",
    "Revoke",
    "Authorize",
    "Associate",
    "Disassociate",
    "Reset",
    "Restore",
    "Register",
];

const NOUNS: [&str; 50] = [
    "Trail",
    "User",
    "Role",
    "Policy",
    "AccessKey",
    "LoginProfile",
    "RolePolicy",
    "UserPolicy",
    "GroupPolicy",
    "BucketPolicy",
    "BucketAcl",
    "BucketVersioning",
    "BucketEncryption",
    "BucketReplication",
    "PublicAccessBlock",
    "Detector",
    "Filter",
    "IPSet",
    "ThreatIntelSet",
    "Members",
    "ConfigRule",
    "ConfigurationRecorder",
    "DeliveryChannel",
    "FlowLogs",
    "SecurityGroup",
    "NetworkAcl",
    "NetworkAclEntry",
    "Route",
    "RouteTable",
    "InternetGateway",
    "VpcPeeringConnection",
    "Snapshot",
    "SnapshotAttribute",
    "Image",
    "ImageAttribute",
    "Instance",
    "InstanceAttribute",
    "KeyPair",
    "Volume",
    "DBInstance",
    "DBCluster",
    "DBSnapshot",
    "Function",
    "EventSourceMapping",
    "LayerVersion",
    "Secret",
    "Key",
    "Alias",
    "Grant",
    "LogGroup",
];

/// The `eventName` that a rule selects. No two rules share one.
pub(crate) fn event_name(rule: usize) -> String {
    [VERBS[rule % VERBS.len()], NOUNS[rule / VERBS.len() % NOUNS.len()]].concat()
}

/// The id of a rule.
pub(crate) fn id(rule: usize) -> String {
    format!("BENCH-{rule:04}")
}
