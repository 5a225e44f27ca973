//! docs/emulator.md says what there is: every test it names, every option of the command, a script that can be read.

use clap::CommandFactory as _;
use rollbook::cli::Cli;
use rollbook::emulator::FaultScript;

const DOCUMENT: &str = include_str!("../../../docs/emulator.md");

#[test]
fn every_test_of_the_conformance_table_exists() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/emulator");
    let rows = DOCUMENT.lines().filter(|line| line.starts_with('|'));
    let names: Vec<&str> = rows.flat_map(|row| row.split('`')).filter(|text| text.contains("::")).collect();
    assert!(names.len() > 80, "the table was read");
    let missing = names.into_iter().filter(|name| {
        let (module, test) = name.split_once("::").expect("it has one");
        let text = std::fs::read_to_string(folder.join(format!("{module}.rs"))).unwrap_or_default();
        // A star stands for several tests.
        let test = test.strip_suffix('*').map_or_else(|| format!("fn {test}("), |start| format!("fn {start}"));
        !text.contains(&test)
    });
    assert_eq!(missing.collect::<Vec<_>>(), Vec::<&str>::new());
}

#[test]
fn every_option_of_the_command_is_explained() {
    let cli = Cli::command();
    let emulate = cli.find_subcommand("emulate").expect("it is a subcommand");
    let options: Vec<String> =
        emulate.get_arguments().filter_map(|argument| argument.get_long()).map(|long| format!("`--{long}")).collect();
    assert!(options.len() > 10, "the options were found");
    let missing: Vec<&String> = options.iter().filter(|option| !DOCUMENT.contains(*option)).collect();
    assert!(missing.is_empty(), "not in docs/emulator.md: {missing:?}");
}

#[test]
fn the_fault_script_of_the_document_can_be_read() {
    let (_, after) = DOCUMENT.split_once("```toml\n").expect("there is one");
    let (script, _) = after.split_once("```").expect("it ends");
    assert_eq!(FaultScript::parse(script).expect("it is a good one").fault.len(), 2);
}
