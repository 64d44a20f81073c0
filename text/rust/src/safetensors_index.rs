//! The header of a safetensors file, validated by the `safetensors` crate.

use crate::ffi::{guard, put, slice, Bytes};
use safetensors::SafeTensors;

/// `file` is the whole file, mapped; only the header is touched. Writes JSON `[{"name", "dtype", "shape", "begin", "end"}]` with offsets
/// from the start of the file.
#[no_mangle]
pub unsafe extern "C" fn candor_safetensors_index(file: *const u8, len: usize, out: *mut Bytes, error: *mut Bytes) -> i32 {
    guard(error, || {
        let (header_bytes, metadata) = SafeTensors::read_metadata(slice(file, len)).map_err(|e| e.to_string())?;
        let data = 8 + header_bytes;
        let mut entries: Vec<(usize, usize, serde_json::Value)> = Vec::new();
        for (name, tensor) in metadata.tensors() {
            let (begin, end) = (data + tensor.data_offsets.0, data + tensor.data_offsets.1);
            let dtype = serde_json::to_value(tensor.dtype).map_err(|e| e.to_string())?;
            entries.push((
                begin,
                end,
                serde_json::json!({"name": name, "dtype": dtype, "shape": tensor.shape, "begin": begin, "end": end}),
            ));
        }
        entries.sort_by(|a, b| (a.0, a.1, a.2["name"].as_str()).cmp(&(b.0, b.1, b.2["name"].as_str())));
        let list: Vec<serde_json::Value> = entries.into_iter().map(|entry| entry.2).collect();
        put(out, serde_json::to_vec(&list).map_err(|e| e.to_string())?);
        Ok(())
    })
}
