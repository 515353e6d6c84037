//! Swapping rules while workers run: where modules come from, what becomes of them, and who is told.
//!
//! One thread, the [`Keeper`], does all of it, off the data path: it looks at the folder, follows the rules topic, takes
//! one module after the other through all steps, builds a complete set, and publishes it with one pointer store. Workers
//! take it at their next batch.
//!
//! | file | subject |
//! |---|---|
//! | `offer.rs` | a module as a source hands it over: key, mode, digest, settings, place |
//! | `folder.rs` | the watched folder |
//! | `topic.rs` | the rules topic: messages to offers and back |
//! | `ledger.rs` | what is offered, what of it is live, what is refused and why; the generation |
//! | `keeper.rs` | the thread: sources, ledger, pointer store, metrics, status |
//! | `status.rs` | what an instance says of itself on the status topic |
//! | `operate.rs` | publish, retract, promote, list |

mod folder;
mod keeper;
mod ledger;
mod offer;
mod operate;

mod status;
mod topic;

pub use keeper::{Keeper, StartError, Wake};
pub use ledger::RefusedModule;
pub use offer::Key;
pub use operate::{Listed, Listing, OperateError, Publish, Published, list, promote, publish, retract, wait};

pub use status::{CONFIG as STATUS_TOPIC, Status};
pub use topic::CONFIG as RULES_TOPIC;
