//! What the reader accepts at most: every size, count and depth that hostile or broken input could grow.

/// Limits of the reader. What exceeds one becomes a dead letter; nothing else is affected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadLimits {
    /// Size of a message as it arrives, and of one value within a decompressed stream or a file, in bytes. Firehose
    /// sends bodies of up to 64 MiB, the largest of all the framings that are handled.
    pub message_bytes_max: usize,
    /// What one message may decompress to, all its layers together, in bytes. It stops a gzip bomb that is large
    /// enough to stay under `ratio_max`. An S3 log file of 50 MB is about 500 MB decompressed. A file that is read
    /// by `Splitter` has no such limit, since it is streamed.
    pub decompressed_bytes_max: u64,
    /// Decompressed bytes for each compressed byte, enforced once 1 MiB has come out. It stops a gzip bomb early:
    /// deflate reaches 1,032, CloudTrail logs 10 to 30.
    pub ratio_max: u32,
    /// Layers within one message: gzip, base64, JSON text in a JSON string, an envelope's list or inner object.
    /// Values over 32 count as 32, since layers are read by recursion.
    pub nesting_max: u32,
    /// Entries that one message may hold.
    pub records_max: u32,
    /// Size of one record, in bytes. AWS says 256 KB, up to 1 MB in newer event versions.
    pub record_bytes_max: usize,
    /// Containers within containers in one record. Values over 256 count as 256, since the JSON parser recurses.
    pub json_depth_max: u32,
}

impl Default for ReadLimits {
    fn default() -> Self {
        ReadLimits {
            message_bytes_max: 64 << 20,
            decompressed_bytes_max: 512 << 20,
            ratio_max: 400,
            nesting_max: 8,
            records_max: 200_000,
            record_bytes_max: 1 << 20,
            json_depth_max: 64,
        }
    }
}

/// The deepest JSON that is handed to the parser. It recurses: its frames of 1,000 levels fit into 256 KiB of stack in
/// a release build, while a million `[` overflow any stack.
pub(super) const DEPTH_PARSED_MAX: usize = 256;

/// The deepest nesting of layers, whatever the configuration says.
const NESTING_MAX: u32 = 32;

impl ReadLimits {
    /// `json_depth_max`, made safe for the parser's recursion.
    pub(super) fn depth_max(&self) -> usize {
        (self.json_depth_max as usize).min(DEPTH_PARSED_MAX)
    }

    /// `nesting_max`, made safe for the reader's recursion.
    pub(super) fn layers_max(&self) -> u32 {
        self.nesting_max.min(NESTING_MAX)
    }
}
