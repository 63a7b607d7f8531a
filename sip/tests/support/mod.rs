//! What the corpus tests share.

use ark_sip::{Report, ReportStart};

/// The ten values as the columns of `expect.tsv` show them; what is absent is empty.
pub(crate) fn columns(report: &Report) -> [String; 10] {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    [
        match &report.start {
            ReportStart::Request(method) => method.clone(),
            ReportStart::Response(status) => status.to_string(),
        },
        report.vias.to_string(),
        text(&report.top_branch),
        text(&report.from_tag),
        text(&report.to_tag),
        text(&report.call_id),
        report.cseq.map(|number| number.to_string()).unwrap_or_default(),
        text(&report.cseq_method),
        report.contacts.to_string(),
        report.body_bytes.to_string(),
    ]
}
