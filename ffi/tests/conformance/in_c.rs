//! The list through the header: each behaviour becomes a C function, compiled against the static
//! library.

use std::fmt::Write as _;
use std::process::Command;

use serde_json::Value;

use crate::list::*;
use crate::support;

/// Bytes as an hc_slice in C.
fn c_bytes(value: Option<&Value>) -> String {
    let literal = |bytes: &[u8]| {
        let escaped: String = bytes.iter().map(|byte| format!("\\{byte:03o}")).collect();
        format!("\"{escaped}\", {}", bytes.len())
    };
    match value {
        None | Some(Value::Null) => "NONE".to_owned(),
        Some(value) if value.get("repeat").is_some() => {
            let text = text(value.get("repeat")).as_bytes();
            format!("repeated({}, {})", literal(text), number(value, "times").unwrap())
        }
        Some(value) => format!("literal({})", literal(&bytes(value))),
    }
}

fn c_ttl(step: &Value) -> String {
    match step.get("ttl_ms") {
        None => "HC_TTL_DEFAULT".to_owned(),
        Some(Value::String(word)) => format!("HC_TTL_{}", word.to_uppercase()),
        Some(ms) => format!("UINT64_C({ms})"),
    }
}

/// The C side's names: versions, views and drafts are arrays, by order of first mention.
#[derive(Default)]
struct Slots(Vec<String>);

impl Slots {
    fn of(&mut self, name: &str) -> usize {
        self.0.iter().position(|known| known == name).unwrap_or_else(|| {
            self.0.push(name.to_owned());
            self.0.len() - 1
        })
    }
}

struct Emitter {
    code: String,
    versions: Slots,
    views: Slots,
    drafts: Slots,
    leases: Slots,
}

impl Emitter {
    fn version(&mut self, step: &Value, absent: &str) -> String {
        match step.get("version") {
            Some(name) => format!("versions[{}]", self.versions.of(text(Some(name)))),
            None => absent.to_owned(),
        }
    }

    fn saved(&mut self, step: &Value) -> String {
        match step.get("save_version") {
            Some(name) => format!("&versions[{}]", self.versions.of(text(Some(name)))),
            None => "&ignored".to_owned(),
        }
    }

    fn options(&mut self, step: &Value) -> String {
        let mode = step.get("mode").map_or("set", |mode| text(Some(mode))).to_uppercase();
        let field = |name| number(step, name).unwrap_or(0);
        let version = self.version(step, "0");
        format!(
            "options(HC_PUT_{mode}, {}, {}, UINT32_C({}), {}, {version}, {}, {})",
            c_ttl(step),
            field("type"),
            field("flags"),
            field("session"),
            field("soft_ttl_ms"),
            field("idle_ttl_ms")
        )
    }

    fn arrays(&mut self, at: usize, fields: &[(&str, Vec<String>)]) {
        for (name, items) in fields {
            let kind = if *name == "statuses" { "hc_status" } else { "hc_slice" };
            let none = if *name == "statuses" { "0" } else { "NONE" };
            let items = items.iter().map(String::as_str).chain([none]).collect::<Vec<_>>();
            let len = items.len();
            writeln!(self.code, "    {kind} {name}{at}[{len}];").unwrap();
            for (i, item) in items.iter().enumerate() {
                writeln!(self.code, "    {name}{at}[{i}] = {item};").unwrap();
            }
        }
    }

    fn matching(step: &Value) -> String {
        format!(
            "matching(HC_MATCH_{}, {}, {}, {})",
            text(step.get("match")).to_uppercase(),
            c_bytes(step.get("pattern")),
            number(step, "session").unwrap_or(0),
            number(step, "type").unwrap_or(0)
        )
    }

    /// Sets `e` to what a read must find.
    fn expect_entry(&mut self, step: &Value, value: &str) {
        let any = |name| number(step, name).map_or("ANY".to_owned(), |n| format!("UINT64_C({n})"));
        let (least, most) = ttl_range(step).unwrap_or((0, u64::MAX));
        let version = self.version(step, "ANY");
        writeln!(self.code, "    e.value = {value};").unwrap();
        for name in ["len", "type", "flags", "session"] {
            writeln!(self.code, "    e.{name} = {};", any(name)).unwrap();
        }
        writeln!(
            self.code,
            "    e.ttl_least = UINT64_C({least});\n    e.ttl_most = UINT64_C({most});\n    \
             e.version = {version};"
        )
        .unwrap();
    }

    fn step(&mut self, at: usize, step: &Value) {
        let op = text(step.get("op"));
        let status = expected_status(step);
        let slices = |field: &str| -> Vec<String> {
            list(step, field).iter().map(|it| c_bytes(Some(it))).collect()
        };
        let statuses: Vec<String> =
            list(step, "statuses").iter().map(|it| text(Some(it)).to_owned()).collect();
        let cap = number(step, "cap").unwrap_or(ENOUGH);
        if step.get("key").is_some() {
            writeln!(self.code, "    key = {};", c_bytes(step.get("key"))).unwrap();
        }
        let value = c_bytes(step.get("value"));
        let is = |call: String| format!("status_is({at}, {status}, {call});");
        let line = match op {
            "set" => is(format!(
                "(value = {value}, hc_set(store, key.data, key.len, value.data, value.len, {}))",
                c_ttl(step)
            )),
            "put" => {
                let (options, saved) = (self.options(step), self.saved(step));
                format!("put({at}, {status}, store, key, {value}, {options}, {saved});")
            }
            "get" | "peek" | "take" => {
                let how = &op[..1];
                self.expect_entry(step, &value);
                let saved = self.saved(step);
                format!("look_up({at}, {status}, store, '{how}', key, {cap}, e, {saved});")
            }
            "contains" => is("hc_contains(store, key.data, key.len)".into()),
            "may_exist" => is("hc_may_exist(store, key.data, key.len)".into()),
            "known_keys" => is("hc_store_set_known_keys(store, filter)".into()),
            "no_known_keys" => is("hc_store_set_known_keys(store, NULL)".into()),
            how @ ("filter_add" | "filter_remove") => {
                let times = number(step, "times").unwrap_or(1);
                let call = is(format!("hc_{how}(filter, key.data, key.len)"));
                format!("for (int i = 0; i < {times}; i++) {call}")
            }
            "filter_contains" => is("hc_filter_contains(filter, key.data, key.len)".into()),
            "filter_contains_many" => {
                let n = list(step, "keys").len();
                self.arrays(at, &[("keys", slices("keys")), ("statuses", statuses)]);
                format!(
                    "filter_contains_many({at}, {status}, filter, keys{at}, {n}, statuses{at});"
                )
            }
            "filter_clear" => is("hc_filter_clear(filter)".into()),
            "filter_reload" => format!("filter = reloaded({at}, filter);"),
            "filter_stats" => {
                let mut lines = is("hc_filter_stats_get(filter, &filter_stats)".into());
                for (field, expected) in step.as_object().unwrap() {
                    if field != "op" {
                        write!(
                            lines,
                            "\n    number_is({at}, \"{field}\", {expected}, filter_stats.{field});"
                        )
                        .unwrap();
                    }
                }
                lines
            }
            "delete" => is("hc_delete(store, key.data, key.len)".into()),
            "touch" => is(format!("hc_touch(store, key.data, key.len, {})", c_ttl(step))),
            "delete_if" => {
                let version = self.version(step, "0");
                is(format!("hc_delete_if(store, key.data, key.len, {version})"))
            }
            "incr" => {
                let (delta, initial) = (&step["delta"], &step["initial"]);
                let call = is(format!(
                    "hc_incr(store, key.data, key.len, {delta}, {initial}, {}, &sum)",
                    c_ttl(step)
                ));
                match step.get("sum") {
                    Some(sum) => format!(
                        "{call}\n    number_is({at}, \"sum\", (uint64_t)INT64_C({sum}), \
                         (uint64_t)sum);"
                    ),
                    None => call,
                }
            }
            "get_many" => {
                let n = list(step, "keys").len();
                self.arrays(
                    at,
                    &[
                        ("keys", slices("keys")),
                        ("values", slices("values")),
                        ("statuses", statuses),
                    ],
                );
                format!(
                    "get_many({at}, {status}, store, keys{at}, {n}, {cap}, statuses{at}, \
                     values{at});"
                )
            }
            "put_many" => {
                let entries = list(step, "entries");
                let of = |field: &str| -> Vec<String> {
                    entries.iter().map(|it| c_bytes(it.get(field))).collect()
                };
                let mode = step.get("mode").map_or("set", |it| text(Some(it))).to_uppercase();
                self.arrays(
                    at,
                    &[("keys", of("key")), ("values", of("value")), ("statuses", statuses)],
                );
                format!(
                    "put_many({at}, {status}, store, keys{at}, values{at}, {}, HC_PUT_{mode}, \
                     statuses{at});",
                    entries.len()
                )
            }
            "delete_many" => {
                self.arrays(at, &[("keys", slices("keys"))]);
                let n = list(step, "keys").len();
                let call = is(format!("hc_delete_many(store, keys{at}, {n}, &count)"));
                let deleted = number(step, "deleted").unwrap();
                format!("{call}\n    number_is({at}, \"deleted\", {deleted}, count);")
            }
            "pin" => {
                let slot = self.views.of(text(step.get("as")));
                let call = is(format!("hc_pin(store, key.data, key.len, 0, &views[{slot}])"));
                if status == "HC_OK" {
                    format!(
                        "{call}\n    bytes_are({at}, {value}, views[{slot}].data, \
                         views[{slot}].len);"
                    )
                } else {
                    call
                }
            }
            "unpin" => {
                let slot = self.views.of(text(step.get("view")));
                format!(
                    "bytes_are({at}, {value}, views[{slot}].data, views[{slot}].len);\n    \
                     hc_unpin(&views[{slot}]);"
                )
            }
            "reserve" => {
                let options = self.options(step);
                let slot = self.drafts.of(text(step.get("as")));
                let len = number(step, "len").unwrap();
                let call = is(format!(
                    "hc_reserve(store, key.data, key.len, {len}, &put_options, &drafts[{slot}])"
                ));
                format!("put_options = {options};\n    {call}")
            }
            "commit" => {
                let slot = self.drafts.of(text(step.get("draft")));
                format!("commit({at}, {status}, &drafts[{slot}], {value});")
            }
            "abandon" => {
                let slot = self.drafts.of(text(step.get("draft")));
                format!("hc_abandon(&drafts[{slot}]);")
            }
            "invalidate" => {
                let call = is("hc_invalidate(store, &match, &count)".into());
                let removed = number(step, "removed").unwrap();
                let matching = Self::matching(step);
                format!(
                    "match = {matching};\n    {call}\n    number_is({at}, \"removed\", {removed}, \
                     count);"
                )
            }
            "scan" => {
                self.arrays(at, &[("keys", slices("keys"))]);
                let n = list(step, "keys").len();
                format!("scan({at}, store, {}, keys{at}, {n});", Self::matching(step))
            }
            "claim" => {
                let slot = match step.get("as") {
                    Some(name) => self.leases.of(text(Some(name))),
                    None => 7,
                };
                self.expect_entry(step, &value);
                let saved = self.saved(step);
                let stale = step.get("stale").is_some_and(|stale| stale == true);
                let flags = if stale { "HC_CLAIM_STALE" } else { "0" };
                let timeout = number(step, "timeout_ms").unwrap_or(0);
                let cap = number(step, "cap").map_or("ANY".into(), |cap| cap.to_string());
                format!(
                    "claim({at}, {status}, store, key, {flags}, UINT64_C({timeout}), {cap}, e, \
                     {saved}, &leases[{slot}]);"
                )
            }
            "lease_put" => {
                let options = self.options(step);
                let slot = self.leases.of(text(step.get("lease")));
                let saved = self.saved(step);
                format!(
                    "lease_put({at}, {status}, store, leases[{slot}], {value}, {options}, {saved});"
                )
            }
            "lease_drop" => {
                let slot = self.leases.of(text(step.get("lease")));
                let reason = text(step.get("reason")).to_uppercase();
                let ms = number(step, "retry_ms").unwrap_or(0);
                format!("lease_drop(store, leases[{slot}], HC_DROP_{reason}, {ms});")
            }
            "clear" => is("hc_clear(store)".into()),
            "destroy" => "hc_store_destroy(store);".into(),
            "stats" => {
                let mut lines = is("hc_store_stats_get(store, &stats)".into());
                for (field, expected) in step.as_object().unwrap() {
                    if field != "op" {
                        write!(
                            lines,
                            "\n    number_is({at}, \"{field}\", {expected}, stats.{field});"
                        )
                        .unwrap();
                    }
                }
                lines
            }
            "sleep" => format!("rest({});", number(step, "ms").unwrap()),
            op => panic!("op is {op}"),
        };
        writeln!(self.code, "    {line}").unwrap();
    }
}

/// The whole list as one C program.
fn c_program(all: &[Behaviour]) -> String {
    let mut program = String::from("#define _POSIX_C_SOURCE 200809L\n#include \"conform.h\"\n");
    let mut main = String::new();
    for (number, Behaviour { name, data }) in all.iter().enumerate() {
        let mut emitter = Emitter {
            code: String::new(),
            versions: Slots::default(),
            views: Slots::default(),
            drafts: Slots::default(),
            leases: Slots::default(),
        };
        for (at, step) in data["steps"].as_array().unwrap().iter().enumerate() {
            emitter.step(at + 1, step);
        }
        let mut config = String::new();
        for (field, value) in data["store"].as_object().into_iter().flatten() {
            let value = match value.as_str() {
                Some(policy) => format!("HC_POLICY_{}", policy.to_uppercase()),
                None => value.to_string(),
            };
            writeln!(config, "    sc.{field} = {value};").unwrap();
        }
        let limit = data["pool"]["limit_bytes"].as_u64().unwrap_or(POOL_LIMIT);
        let filter = match data["filter"]["capacity"].as_u64() {
            Some(capacity) => format!("new_filter(pool, UINT64_C({capacity}))"),
            None => "NULL".to_owned(),
        };
        writeln!(
            program,
            "\n/* {says} */\nstatic void behaviour{number}(void) {{\n    \
             hc_pool_config pc;\n    hc_store_config sc;\n    hc_pool *pool = NULL;\n    \
             hc_store *store = NULL;\n    hc_filter *filter = NULL;\n    \
             hc_filter_stats filter_stats;\n    hc_slice key = NONE, value = NONE;\n    \
             expected_entry e;\n    hc_store_stats stats;\n    hc_match match;\n    \
             hc_put_options put_options;\n    hc_view views[8];\n    hc_draft drafts[8];\n    \
             hc_lease leases[8];\n    \
             uint64_t versions[8] = {{0}}, ignored = 0, count = 0;\n    int64_t sum = 0;\n    \
             where = \"{name}\";\n    HC_INIT(&pc);\n    HC_INIT(&sc);\n    HC_INIT(&stats);\n    \
             HC_INIT(&match);\n    HC_INIT(&put_options);\n    HC_INIT(&filter_stats);\n    \
             memset(&e, 0, sizeof e);\n    memset(views, 0, sizeof views);\n    \
             memset(drafts, 0, sizeof drafts);\n    \
             memset(leases, 0, sizeof leases);\n    pc.limit_bytes = UINT64_C({limit});\n\
             {config}    begin(&pc, &sc, &pool, &store);\n    filter = {filter};\n    (void)key, (void)value, (void)e;\n    \
             (void)versions, (void)leases, (void)ignored, (void)count, (void)sum;\n{code}    \
             end(pool, store, filter);\n}}",
            says = text(data.get("says")).replace("*", "(star)").replace('\\', "(backslash)"),
            code = emitter.code,
        )
        .unwrap();
        writeln!(main, "    behaviour{number}();").unwrap();
    }
    writeln!(program, "\nint main(void) {{\n{main}    return 0;\n}}").unwrap();
    program
}

#[test]
fn in_c() {
    let all = behaviours();
    let folder = support::scratch("conformance");
    let source = folder.join("behaviours.c");
    std::fs::write(&source, c_program(&all)).unwrap();
    let include = support::root().join("conformance/c");
    let include = format!("-I{}", include.display());
    for compiler in support::compilers(&["gcc", "clang"]) {
        let program = folder.join(format!("behaviours-{compiler}"));
        // A behaviour uses some of the helpers only.
        let extra = [include.as_str(), "-Wno-unused-function"];
        let sources = [source.clone()];
        support::build(compiler, "c99", &sources, &extra, &support::archive(), &program);
        support::run(&mut Command::new(&program));
    }
}
