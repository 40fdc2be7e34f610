//! stub
use super::order::Order;
use super::session::{Session, SessionError};
use crate::model::{
    codec::Codec,
    host_state::{HostState, UnitState},
    layout::Layout,
    service::Service,
};
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;
pub struct Hello {
    pub run: String,
    pub lock: bool,
    pub layout: Layout,
    pub owner: String,
    pub service: Service,
    pub hook_shell: Vec<String>,
    pub deadline: Duration,
    pub scan: bool,
}
pub struct Agent;
pub struct Answer {
    pub code: u32,
    pub text: String,
}
pub struct Judgement {
    pub unit: Option<UnitState>,
    pub before_invocation: String,
    pub flip_ticks: Option<u64>,
    pub real_path: String,
}
pub enum Part {
    File { file: Arc<std::fs::File>, len: u64 },
    Bytes(Bytes),
}
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    #[error("x")]
    Lost {
        #[source]
        source: SessionError,
    },
}
impl SessionError {
    pub fn hint(&self) -> Option<String> {
        None
    }
}
impl AgentError {
    pub fn gone() -> Self {
        unimplemented!()
    }
    pub fn hint(&self) -> Option<String> {
        None
    }
}
impl Agent {
    pub async fn open(_s: Arc<dyn Session>, _h: Hello) -> Result<(Agent, HostState), AgentError> {
        unimplemented!()
    }
    pub async fn send(&self, _o: &Order, _c: bool) -> Result<(), AgentError> {
        unimplemented!()
    }
    pub async fn answer(&self) -> Result<Answer, AgentError> {
        unimplemented!()
    }
    pub async fn ask(&self, _o: &Order) -> Result<Answer, AgentError> {
        unimplemented!()
    }
    pub async fn look(&self) -> Result<HostState, AgentError> {
        unimplemented!()
    }
    pub async fn judge(&self, _id: crate::model::id::ReleaseId) -> Result<Judgement, AgentError> {
        unimplemented!()
    }
    pub async fn receive(
        &self,
        _c: Codec,
        _p: Vec<Part>,
        _f: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<(), AgentError> {
        unimplemented!()
    }
    pub async fn bye(self) -> Result<(), AgentError> {
        unimplemented!()
    }
}
