//! The hash of a JSON document that carries it.

use serde_json::Value;

/// BLAKE3 of `document` without its field `left_out`, in hexadecimal. It is taken over the document as it stands,
/// not over what a reader makes of it: a later version, which knows more fields, finds the same hash. A `Value`
/// keeps its fields sorted, so white space and order do not count.
pub fn document_hash(document: &Value, left_out: &str) -> String {
    let mut content = document.clone();
    if let Some(fields) = content.as_object_mut() {
        fields.remove(left_out);
    }
    blake3::hash(content.to_string().as_bytes()).to_hex().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_content_counts() {
        let hash = |text: &str| document_hash(&serde_json::from_str(text).expect("JSON"), "hash");
        assert_eq!(hash(r#"{"a": 1, "b": [2], "hash": "x"}"#), hash(r#"{"b":[2],"a":1}"#));
        assert_ne!(hash(r#"{"a": 1}"#), hash(r#"{"a": 2}"#));
        assert_ne!(hash(r#"{"a": 1}"#), hash(r#"{"a": 1, "b": null}"#));
    }
}
