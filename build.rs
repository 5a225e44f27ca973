//! Mends two faults of librdkafka 2.12.1 in the copy that `rdkafka-sys` built, and links the mended files in the place of
//! its own. Both end the process, in outages of brokers. To be dropped when a released `rdkafka-sys` has the mendings;
//! another version of librdkafka fails here, visibly.

#![expect(clippy::disallowed_methods, reason = "cargo tells a build script everything by variables")]

use std::path::{Path, PathBuf};
use std::{env, fs};

/// A fault, and what stands there instead.
struct Mending {
    file: &'static str,
    wrong: &'static str,
    right: &'static str,
}

const MENDINGS: [Mending; 2] = [
    // A fetch answer that names new leaders counts a partition whose leader is -1 (none yet: a broker has just gone), and
    // leaves it out where the leaders are written down, so that memory is read that nobody set.
    // https://github.com/confluentinc/librdkafka/issues/5280
    Mending {
        file: "rdkafka_fetcher.c",
        wrong: "                TopicTags->partitions_with_leader_change_cnt++;\n",
        right: "                if (PartitionTags->CurrentLeader.LeaderId >= 0)
                        TopicTags->partitions_with_leader_change_cnt++;\n",
    },
    // A question to a coordinator that was given up before the coordinator was found is freed, and then told so.
    // https://github.com/confluentinc/librdkafka/issues/4605
    Mending {
        file: "rdkafka_admin.c",
        wrong: "        rko = rd_kafka_enq_once_del_source_return(eonce, \"coordinator request\");
        if (!rko)
                /* Admin request has timed out and been destroyed */
                return RD_KAFKA_RESP_ERR__DESTROY;

        rd_kafka_enq_once_add_source(eonce, \"coordinator response\");\n",
        right: "        rd_kafka_enq_once_add_source(eonce, \"coordinator response\");
        rko = rd_kafka_enq_once_del_source_return(eonce, \"coordinator request\");
        if (!rko)
                return RD_KAFKA_RESP_ERR__DESTROY;\n",
    },
];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let root = env::var("DEP_RDKAFKA_ROOT").expect("rdkafka-sys builds librdkafka from source and says where");
    let root = Path::new(&root);
    let out = PathBuf::from(env::var("OUT_DIR").expect("cargo sets it"));
    let mut build = cc::Build::new();
    build.include(root.join("src")).warnings(false);
    for mending in &MENDINGS {
        let mended = out.join(mending.file);
        fs::write(&mended, mending.mended(root)).expect("OUT_DIR can be written");
        build.file(mended);
    }
    for flag in flags(root) {
        build.flag(flag);
    }
    // The whole archive: its symbols are there before librdkafka's own archive is looked into for them.
    build.cargo_metadata(false).compile("rdkafka_mended");
    println!("cargo::rustc-link-search=native={}", out.display());
    println!("cargo::rustc-link-lib=static:+whole-archive=rdkafka_mended");
}

impl Mending {
    fn mended(&self, root: &Path) -> String {
        let Self { file, wrong, right } = self;
        let source = fs::read_to_string(root.join("src").join(file)).expect("librdkafka's sources are readable");
        assert_eq!(
            source.matches(wrong).count(),
            1,
            "{file} of librdkafka in {} is not of the version that build.rs mends; hint: look whether the fault is mended \
             there, then drop or rewrite this mending",
            root.display()
        );
        source.replace(wrong, right)
    }
}

/// The compiler's flags of librdkafka's own build (where OpenSSL's and zstd's headers are).
fn flags(root: &Path) -> Vec<String> {
    let config = fs::read_to_string(root.join("Makefile.config")).expect("librdkafka is configured");
    let lines = config.lines().filter_map(|line| line.strip_prefix("CFLAGS+=").or(line.strip_prefix("CPPFLAGS+=")));
    lines.flat_map(str::split_whitespace).map(str::to_owned).collect()
}
