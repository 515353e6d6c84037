//! A real OpenSearch node, embedded in a small Java program: its jars from Maven, once. Elasticsearch's `_bulk` answers
//! in the same form.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::sync::LazyLock;

use serde_json::{Value, json};

use super::{source, until_started};
use crate::child::Child;
use crate::folder::Folder;
use crate::http;
use crate::install::{class_path, maven, prepared, runs, skip, succeeds};
use crate::kafka::free_port;

/// The version of OpenSearch; 3.x needs a newer JDK.
const OPENSEARCH: &str = "2.19.6";
/// The version of its logging back end: that of the log4j-api that comes along.
const LOG4J: &str = "2.25.4";

/// Documents that one search gives; OpenSearch allows no more.
const PAGE: usize = 10_000;

/// Small and soon up.
const SMALL: [&str; 3] = ["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"];

/// A node that holds indexes.
#[derive(Debug)]
pub struct OpenSearch {
    class_path: &'static str,
    folder: Folder,
    port: u16,
    /// Options of its virtual machine.
    java: &'static [&'static str],
    settings: Vec<String>,
    /// None while the node is down.
    process: Option<Child>,
    starts: u32,
}

impl OpenSearch {
    /// The node for all tests of this process that do not break it. Each has indexes of its own.
    pub fn shared() -> Option<&'static OpenSearch> {
        static SHARED: LazyLock<Option<OpenSearch>> =
            LazyLock::new(|| install().ok().map(|class_path| OpenSearch::with(class_path, &SMALL, &[])));
        install().inspect_err(|why| skip("OpenSearch", why)).ok()?;
        SHARED.as_ref()
    }

    /// Starts a node of the test's own, to be broken, with settings of `opensearch.yml` on top, such as
    /// `http.max_content_length=1mb`.
    pub fn start(settings: &[&str]) -> Option<OpenSearch> {
        let class_path = install().inspect_err(|why| skip("OpenSearch", why)).ok()?;
        Some(OpenSearch::with(class_path, &SMALL, settings))
    }

    /// Starts a node to be measured: with memory for large requests, and all that Java does to be fast.
    pub fn start_large() -> Option<OpenSearch> {
        let class_path = install().inspect_err(|why| skip("OpenSearch", why)).ok()?;
        Some(OpenSearch::with(class_path, &["-Xms1g", "-Xmx1g"], &[]))
    }

    fn with(class_path: &'static str, java: &'static [&'static str], more: &[&str]) -> OpenSearch {
        let folder = Folder::new("opensearch");
        let (home, port) = (folder.path().display(), free_port());
        let mut settings = vec![
            format!("path.home={home}/home"),
            format!("path.data={home}/data"),
            format!("path.logs={home}/logs"),
            format!("http.port={port}"),
        ];
        let fixed = [
            "discovery.type=single-node",
            "network.host=127.0.0.1",
            "transport.port=0",
            "node.store.allow_mmap=false",
            "cluster.routing.allocation.disk.threshold_enabled=false",
        ];
        settings.extend(fixed.iter().chain(more).map(|setting| (*setting).to_owned()));
        let mut node = OpenSearch { class_path, folder, port, java, settings, process: None, starts: 0 };
        node.restart();
        node
    }

    /// Its address, `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The port that it listens on, the same over restarts.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Kills it without a warning.
    pub fn kill9(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill9();
        }
    }

    /// Starts it again on the same data and port, and waits until its indexes can be read and written.
    pub fn restart(&mut self) {
        assert!(self.process.is_none(), "the node is running");
        self.starts += 1;
        let mut java = Command::new("java");
        java.args(self.java).args(["-cp", self.class_path]);
        java.arg("EmbeddedNode").args(&self.settings);
        let mut process = Child::start(&java, self.folder.path(), &format!("node-{}", self.starts));
        until_started("OpenSearch", &mut process, |process| {
            if !process.stdout().contains("listening ") {
                return None;
            }
            let (status, health) = self.ask("GET", "/_cluster/health", "").ok()?;
            let usable = ["yellow", "green"].iter().any(|colour| health["status"] == *colour);
            (status == 200 && usable).then_some(())
        });
        self.process = Some(process);
    }

    /// A request with a JSON or NDJSON body; gives status and answer (null where it is no JSON).
    #[track_caller]
    pub fn request(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        self.ask(method, path, body).unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    fn ask(&self, method: &str, path: &str, body: &str) -> std::io::Result<(u16, Value)> {
        let headers = [("content-type", "application/json")];
        let (status, answer) = http::send(self.port, method, path, &headers, body.as_bytes())?;
        Ok((status, serde_json::from_str(&answer).unwrap_or_default()))
    }

    /// Sets settings of an index at run time, such as `{"index.blocks.write": true}`, or of the cluster where `index` is
    /// `_cluster`.
    #[track_caller]
    pub fn set(&self, index: &str, settings: &Value) {
        let body = if index == "_cluster" { json!({ "transient": settings }) } else { settings.clone() };
        let (status, answer) = self.request("PUT", &format!("/{index}/_settings"), &body.to_string());
        assert_eq!(status, 200, "{answer}");
    }

    /// All documents of an index, an alias or a data stream, by `_id`; empty while there is no such index.
    ///
    /// # Panics
    /// When an id is there twice: in two indexes behind one data stream.
    #[track_caller]
    pub fn documents(&self, index: &str) -> BTreeMap<String, Value> {
        let (status, answer) = self.request("POST", &format!("/{index}/_refresh"), "");
        if status == 404 {
            return BTreeMap::new();
        }
        assert_eq!(status, 200, "{answer}");
        let mut documents = BTreeMap::new();
        let query = json!({ "size": PAGE, "sort": ["_doc"], "query": { "match_all": {} } }).to_string();
        let (mut status, mut page) = self.request("POST", &format!("/{index}/_search?scroll=1m"), &query);
        loop {
            assert_eq!(status, 200, "{page}");
            let hits = page["hits"]["hits"].as_array().cloned().unwrap_or_default();
            if hits.is_empty() {
                break;
            }
            for hit in hits {
                let id = hit["_id"].as_str().expect("an id").to_owned();
                let before = documents.insert(id, hit["_source"].clone());
                assert!(before.is_none(), "twice: {hit}");
            }
            let next = json!({ "scroll": "1m", "scroll_id": page["_scroll_id"] }).to_string();
            (status, page) = self.request("POST", "/_search/scroll", &next);
        }
        // Only this one: others read from the same node at the same time.
        let _gone = self.request("DELETE", "/_search/scroll", &json!({ "scroll_id": page["_scroll_id"] }).to_string());
        documents
    }
}

/// The class path of the node, made at the first call; or why it cannot be made.
fn install() -> Result<&'static str, &'static str> {
    static INSTALL: LazyLock<Result<String, String>> = LazyLock::new(make);
    INSTALL.as_deref().map_err(String::as_str)
}

fn make() -> Result<String, String> {
    runs("java", "-version")?;
    let folder = prepared(&format!("siem/opensearch-{OPENSEARCH}"), |folder| {
        let node = format!("org.opensearch:opensearch:{OPENSEARCH}");
        let transport = format!("org.opensearch.plugin:transport-netty4-client:{OPENSEARCH}");
        maven(folder, &[&node, &transport, &format!("org.apache.logging.log4j:log4j-core:{LOG4J}")])
    })?;
    let jars = class_path(&folder.join("jars"))?;
    let classes = compile(&jars)?;
    Ok(format!("{}:{jars}", classes.display()))
}

/// Compiles the program. Its folder is named after its text, so that an edited program is compiled again.
fn compile(jars: &str) -> Result<PathBuf, String> {
    let program = source("opensearch/EmbeddedNode.java");
    prepared(&format!("siem/opensearch-{OPENSEARCH}-{}", super::digest(&[&program])?), |folder| {
        let mut javac = Command::new("javac");
        succeeds(javac.args(["-cp", jars, "-d"]).arg(folder).arg(&program))
    })
}
