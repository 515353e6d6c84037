//! What an operator sees of a running process: `/status` on its admin page, and its targets that are down in the fleet's list.

use harness::kafka::{Kafka, Outgoing};
use harness::siem::{Reply, Scene, Stub, TOKEN};
use harness::trailhound::{Config, Trailhound};
use harness::wait::{PATIENCE, until_true};
use serde_json::Value;

use crate::program::{self, Done};

/// What `/status` says.
#[track_caller]
fn status(program: &Trailhound) -> Value {
    let (code, body) = program.page("/status").expect("the page");
    assert_eq!(code, 200, "{body}");
    serde_json::from_str(&body).expect("JSON")
}

fn list(program: &Trailhound, more: &[&str]) -> Done {
    let mut command = program::trailhound();
    command.args(["rule", "list", "--config"]).arg(program.config()).args(more);
    Done::from(command.output().expect("the program starts")).well()
}

#[test]
fn a_target_that_is_down_shows_in_status_and_in_the_list_of_the_fleet() {
    let Some(kafka) = Kafka::shared() else { return };
    let client = kafka.client();
    let name = "status";
    client.create_topics(name, 4, &[]);
    let scene = Scene::new(kafka, "status-siem", 10);
    let mut stub = Stub::start(|_, _| Reply::status(200, r#"{"text":"Success","code":0}"#));
    stub.down();
    let mut config = Config::new(&kafka.bootstrap(), name);
    config.instance = "one".to_owned();
    config.rules = format!("directory = FOLDER\nstatus_topic = \"{name}.status\"\ncreate = {{ replication = 1 }}");
    config.more = format!(
        r#"
[pipelines.siem]
workers = 1
source = {{ kafka = {{ topics = ["{0}.findings"], group = "{0}" }} }}
sink = {{ splunk = {{ url = "{1}", token = "{TOKEN}", retry_ms_min = 20, retry_ms_max = 200 }} }}
dead_letters = {{ kafka = {{ topic = "{0}.dead" }} }}
"#,
        scene.name,
        stub.url()
    );
    let mut program = Trailhound::ready(&config);
    let siem = |program: &Trailhound| status(program)["pipelines"]["siem"].clone();
    program
        .until("the target to be down", |program| siem(program)["workers"][0]["target_down"].is_object().then_some(()));
    program.until("the lag", |program| (siem(program)["lag_messages"] == 10).then_some(()));
    let said = status(&program);
    assert_eq!(
        (&said["instance"], &said["ready"], &said["rules"]["modules"]),
        (&"one".into(), &true.into(), &1.into())
    );
    let detect = &said["pipelines"]["detect"];
    assert_eq!((&detect["does"], detect["workers"].as_array().map(Vec::len)), (&"detect".into(), Some(2)), "{said}");
    assert_eq!(detect["workers"][1]["state"], "running", "{said}");
    let down = &said["pipelines"]["siem"]["workers"][0]["target_down"];
    assert_eq!(down["target"], stub.url(), "{said}");
    assert!(down["since_ms"].as_i64() > said["started_ms"].as_i64(), "{said}");
    assert!(down["cause"].as_str().is_some_and(|cause| cause.contains("refused")), "{said}");
    assert!(!said.to_string().contains(TOKEN), "{said}");

    let told = |program: &Trailhound| {
        let listing: Value = serde_json::from_str(&list(program, &["--json"]).stdout).expect("JSON");
        listing["instances"][0]["targets_down"].clone()
    };
    until_true(PATIENCE, "the fleet to be told", || told(&program)[0]["pipeline"] == "siem");
    let shown = list(&program, &[]).stdout;
    assert!(shown.contains(&format!("TARGET DOWN siem: {} since ", stub.url())), "{shown}");

    stub.up();
    client.until_committed(&scene.name, &format!("{}.findings", scene.name));
    program.until("the target to be up", |program| siem(program)["workers"][0]["target_down"].is_null().then_some(()));
    until_true(PATIENCE, "the fleet to be told", || told(&program).is_null());
    // The next record finds it well.
    client.produce(&format!("{}.findings", scene.name), &[Outgoing::value("{}")], &[]);
    client.until_committed(&scene.name, &format!("{}.findings", scene.name));
    assert!(siem(&program)["workers"][0]["target_down"].is_null());
}
