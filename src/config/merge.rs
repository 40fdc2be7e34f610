//! Lays a stage over the top level: the keys of the stage win.

use std::collections::BTreeMap;

use toml::Spanned;

use super::tables::{
    ArtifactTable, AssetsTable, Env, EnvTables, Health, HooksTable, Layer, LocalHooks,
    MaintenanceTable, RolloutTable, S3Table, ServiceTable, SlotsTable, Ssh, SudoTable, Timeouts,
    TrafficTable, UploadTable,
};

impl Layer {
    /// This stage's keys, and those of `top` where it has none. Tables merge key by key; lists
    /// are replaced as a whole.
    pub(super) fn over(&self, top: &Self) -> Self {
        Self {
            app: None,
            default_stage: None,
            stages: None,
            deploy_to: first(&self.deploy_to, &top.deploy_to),
            keep_releases: first(&self.keep_releases, &top.keep_releases),
            hosts: first(&self.hosts, &top.hosts),
            confirm: first(&self.confirm, &top.confirm),
            parallel: first(&self.parallel, &top.parallel),
            linked_dirs: first(&self.linked_dirs, &top.linked_dirs),
            linked_files: first(&self.linked_files, &top.linked_files),
            artifact: both(&self.artifact, &top.artifact, ArtifactTable::over),
            assets: both(&self.assets, &top.assets, AssetsTable::over),
            env: both(&self.env, &top.env, EnvTables::over),
            service: both(&self.service, &top.service, ServiceTable::over),
            services: both(&self.services, &top.services, services_over),
            slots: both(&self.slots, &top.slots, SlotsTable::over),
            health: both(&self.health, &top.health, Health::over),
            hooks: both(&self.hooks, &top.hooks, HooksTable::over),
            notices: first(&self.notices, &top.notices),
            rollout: both(&self.rollout, &top.rollout, RolloutTable::over),
            upload: both(&self.upload, &top.upload, UploadTable::over),
            maintenance: both(&self.maintenance, &top.maintenance, MaintenanceTable::over),
            ssh: both(&self.ssh, &top.ssh, Ssh::over),
            sudo: both(&self.sudo, &top.sudo, SudoTable::over),
            timeouts: both(&self.timeouts, &top.timeouts, Timeouts::over),
        }
    }
}

impl ArtifactTable {
    /// Lays a stage over the top level. A stage with its own path has its own digest or none.
    fn over(&self, top: &Self) -> Self {
        let same = self.path.is_none();
        let inherited = if same { first(&self.sha256, &top.sha256) } else { self.sha256.clone() };
        Self {
            path: first(&self.path, &top.path),
            sha256: inherited,
            headers: both(&self.headers, &top.headers, map_over),
            signature: first(&self.signature, &top.signature),
            s3: both(&self.s3, &top.s3, S3Table::over),
            exclude: first(&self.exclude, &top.exclude),
            strip_components: first(&self.strip_components, &top.strip_components),
            follow_links: first(&self.follow_links, &top.follow_links),
            case: first(&self.case, &top.case),
            keep_private: first(&self.keep_private, &top.keep_private),
        }
    }
}

impl EnvTables {
    /// Lays a stage over the top level. Several files are a list, which is replaced as a whole.
    fn over(&self, top: &Self) -> Self {
        match (self, top) {
            (Self::One(stage), Self::One(top)) => Self::One(Box::new(stage.over(top))),
            _ => self.clone(),
        }
    }
}

impl Env {
    fn over(&self, top: &Self) -> Self {
        Self {
            file: first(&self.file, &top.file),
            mode: first(&self.mode, &top.mode),
            group: first(&self.group, &top.group),
            format: first(&self.format, &top.format),
            files: first(&self.files, &top.files),
            vars: both(&self.vars, &top.vars, map_over),
            roles: first(&self.roles, &top.roles),
        }
    }
}

/// Lays the names of a stage over those of the top level.
fn map_over<K: Clone + Ord, V: Clone>(
    stage: &BTreeMap<K, V>,
    top: &BTreeMap<K, V>,
) -> BTreeMap<K, V> {
    let mut all = stage.clone();
    for (name, value) in top {
        all.entry(name.clone()).or_insert_with(|| value.clone());
    }
    all
}

impl ServiceTable {
    /// Lays a stage over the top level. A stage with another kind of service inherits only the
    /// limit.
    fn over(&self, top: &Self) -> Self {
        let (unit, command) = (self.unit.is_some(), self.restart.is_some());
        let timeout = first(&self.timeout, &top.timeout);
        let nothing = Self::default();
        let for_unit = if command { &nothing } else { top };
        let for_command = if unit { &nothing } else { top };
        Self {
            unit: first(&self.unit, &for_unit.unit),
            scope: first(&self.scope, &for_unit.scope),
            action: first(&self.action, &for_unit.action),
            restart: first(&self.restart, &for_command.restart),
            stop: first(&self.stop, &for_command.stop),
            log: first(&self.log, &for_command.log),
            timeout,
            proof: first(&self.proof, &for_unit.proof),
            file: first(&self.file, &for_unit.file),
            image: first(&self.image, &for_unit.image),
            engine: first(&self.engine, &for_unit.engine),
            after: first(&self.after, &top.after),
            roles: first(&self.roles, &top.roles),
        }
    }
}

type ServiceTables = BTreeMap<Spanned<String>, ServiceTable>;

/// Lays the services of a stage over those of the top level, which keep their places.
fn services_over(stage: &ServiceTables, top: &ServiceTables) -> ServiceTables {
    let mut all = top.clone();
    for (name, table) in stage {
        let table = top.get(name).map_or_else(|| table.clone(), |top| table.over(top));
        all.insert(name.clone(), table);
    }
    all
}

/// Defines `over` for tables that merge key by key; those after `;` are tables themselves.
macro_rules! key_by_key {
    ($($table:ident { $($key:ident)* $(; $($inner:ident: $of:ident)*)? })*) => {$(
        impl $table {
            fn over(&self, top: &Self) -> Self {
                Self {
                    $($key: first(&self.$key, &top.$key),)*
                    $($($inner: both(&self.$inner, &top.$inner, $of::over),)*)?
                }
            }
        }
    )*};
}

key_by_key! {
    SudoTable { command user password }
    AssetsTable { keep releases }
    SlotsTable { ports drain keep_warm; traffic: TrafficTable }
    TrafficTable { file content command }
    Health { http tcp command checks soak interval timeout total successes }
    HooksTable {
        shell timeout staged before_switch switched activated committed reverted; local: LocalHooks
    }
    LocalHooks { before staged after failed }
    RolloutTable { batch canary pause on_failure on_unreachable max_failed }
    UploadTable { link limit parallel }
    MaintenanceTable { file template }
    Ssh { config user identity_file known_hosts connect_timeout host_keys transport }
    S3Table { endpoint region profile }
    Timeouts { deadline }
}

#[expect(clippy::ref_option, reason = "callers lay field over field")]
fn first<T: Clone>(stage: &Option<T>, top: &Option<T>) -> Option<T> {
    stage.as_ref().or(top.as_ref()).cloned()
}

#[expect(clippy::ref_option, reason = "callers lay field over field")]
fn both<T: Clone>(stage: &Option<T>, top: &Option<T>, over: fn(&T, &T) -> T) -> Option<T> {
    match (stage, top) {
        (Some(stage), Some(top)) => Some(over(stage, top)),
        _ => first(stage, top),
    }
}
