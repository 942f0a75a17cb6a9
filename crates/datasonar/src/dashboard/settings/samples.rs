//! How receivers verify webhooks, in seven languages: the functions of `examples/verify`, which the tests run.

/// A language's sample.
pub(super) struct Sample {
    pub(super) language: &'static str,
    pub(super) name: &'static str,
    pub(super) code: &'static str,
}

/// A sample is the file down to where its own command begins.
const fn sample(language: &'static str, name: &'static str, file: &'static str) -> Sample {
    Sample { language, name, code: file }
}

macro_rules! example {
    ($path:literal) => {
        include_str!(concat!("../../../../../examples/verify/", $path))
    };
}

const SAMPLES: [(Sample, &str); 7] = [
    (sample("python", "Python", example!("python/verify.py")), "def stop_clock"),
    (sample("node", "Node.js", example!("node/verify.js")), "/** @type {(args"),
    (sample("go", "Go", example!("go/verify.go")), "func run("),
    (sample("ruby", "Ruby", example!("ruby/verify.rb")), "def main"),
    (sample("php", "PHP", example!("php/verify.php")), "/** @param string[] $arguments"),
    (sample("java", "Java", example!("java/Verify.java")), "    private static int run("),
    (sample("rust", "Rust", example!("rust/verify.rs")), "fn run("),
];

/// All samples, without what is not to be copied.
pub(super) fn samples() -> Vec<Sample> {
    let cut = |(sample, end): &(Sample, &'static str)| Sample {
        code: sample.code.find(end).map_or(sample.code, |end| sample.code[..end].trim_end()),
        ..*sample
    };
    SAMPLES.iter().map(cut).collect()
}

#[cfg(test)]
mod tests {
    use super::samples;

    #[test]
    fn samples_name_our_headers_and_end_before_their_commands() {
        for sample in samples() {
            assert!(sample.code.to_ascii_lowercase().contains("x-datasonar-signature"), "{}", sample.name);
            assert!(!sample.code.contains("HEADERS_FILE"), "{} shows its command", sample.name);
        }
    }
}
