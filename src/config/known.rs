//! The keys of deploy.toml, asked of the tables that mirror it.

use serde::de::{Deserializer, Error as _, Visitor};
use serde::{Deserialize, de};

use super::tables::{
    ArtifactTable, AssetsTable, Check, DigestTable, DirTable, Env, FileTable, Health, HookTable,
    HooksTable, HostTable, HostsTable, ImportTable, Layer, LocalHookTable, LocalHooks,
    MaintenanceTable, NoticeTable, RolloutTable, S3Table, ServiceTable, SignatureTable, SlotsTable,
    Ssh, SudoTable, Timeouts, TrafficTable, UploadTable, VarTable,
};

/// Keys that no stage has.
pub(super) const ONLY_AT_TOP: [&str; 3] = ["app", "default_stage", "stages"];

/// Every key there is, dotted, `stages.*` standing for its own: for documentation to be complete.
pub fn known_keys() -> Vec<String> {
    let tables = [
        ("", fields::<Layer>()),
        ("hosts", fields::<HostTable>()),
        ("hosts", fields::<HostsTable>()),
        ("linked_dirs", fields::<DirTable>()),
        ("linked_files", fields::<FileTable>()),
        ("artifact", fields::<ArtifactTable>()),
        ("artifact.sha256", fields::<DigestTable>()),
        ("artifact.signature", fields::<SignatureTable>()),
        ("artifact.s3", fields::<S3Table>()),
        ("assets", fields::<AssetsTable>()),
        ("env", fields::<Env>()),
        ("env.files", fields::<ImportTable>()),
        ("env.vars", fields::<VarTable>()),
        ("service", &fields::<ServiceTable>()[..9]),
        ("services", fields::<ServiceTable>()),
        ("slots", fields::<SlotsTable>()),
        ("slots.traffic", fields::<TrafficTable>()),
        ("health", fields::<Health>()),
        ("health.checks", fields::<Check>()),
        ("hooks", fields::<HooksTable>()),
        ("hooks.local", fields::<LocalHooks>()),
        ("hooks.local.before", fields::<LocalHookTable>()),
        ("hooks.staged", fields::<HookTable>()),
        ("notices", fields::<NoticeTable>()),
        ("rollout", fields::<RolloutTable>()),
        ("upload", fields::<UploadTable>()),
        ("maintenance", fields::<MaintenanceTable>()),
        ("ssh", fields::<Ssh>()),
        ("sudo", fields::<SudoTable>()),
        ("timeouts", fields::<Timeouts>()),
    ];
    let dotted = |table: &str, key: &str| format!("{table}.{key}").trim_matches('.').to_owned();
    let all =
        tables.into_iter().flat_map(|(table, keys)| keys.iter().map(move |k| dotted(table, k)));
    all.collect()
}

/// Returns the names of a struct's fields, as its `Deserialize` asks for them.
fn fields<'de, T: Deserialize<'de>>() -> &'static [&'static str] {
    let mut names: &'static [&'static str] = &[];
    let _ = T::deserialize(Listener(&mut names));
    names
}

/// A deserializer that has nothing to give and remembers what it was asked for.
struct Listener<'a>(&'a mut &'static [&'static str]);

impl<'de> Deserializer<'de> for Listener<'_> {
    type Error = de::value::Error;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Self::Error> {
        Err(Self::Error::custom("there is nothing here"))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        *self.0 = fields;
        self.deserialize_any(visitor)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}
