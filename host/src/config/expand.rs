//! `${NAME}` takes an environment variable, `${file:PATH}` the text of a file (a mounted secret, say), `$$` a dollar.

/// Size of a file that `${file:…}` takes, in bytes.
const FILE_BYTES_MAX: u64 = 64 << 10;

/// What is wrong, and a hint.
type Wrong = (String, String);

/// Expands all `${…}` of a text. What was put in is not looked at again. Errors name variables and files, never what
/// they hold.
pub(super) fn expand(text: &str, variable: &dyn Fn(&str) -> Option<String>) -> Result<String, Wrong> {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        if let Some(after) = after.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some((name, after)) = after.strip_prefix('{').and_then(|after| after.split_once('}')) {
            out.push_str(&look_up(name, variable)?);
            rest = after;
        } else {
            let hint = "write ${NAME}, ${file:PATH}, or $$ for a dollar";
            return Err(("has a `$` that begins nothing".to_owned(), hint.to_owned()));
        }
    }
    out.push_str(rest);
    Ok(out)
}

fn look_up(name: &str, variable: &dyn Fn(&str) -> Option<String>) -> Result<String, Wrong> {
    let Some(path) = name.strip_prefix("file:") else {
        let missing = || (format!("the environment has no variable {name}"), format!("export {name}=…"));
        return variable(name).ok_or_else(missing);
    };
    let failed = |cause: String| {
        let hint = "check the path and that this user may read it";
        (format!("the file {path} cannot be taken: {cause}"), hint.to_owned())
    };
    let metadata = std::fs::metadata(path).map_err(|error| failed(error.to_string()))?;
    if metadata.len() > FILE_BYTES_MAX {
        return Err(failed(format!("{} bytes, over the limit of {FILE_BYTES_MAX}", metadata.len())));
    }
    let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
    // Editors and `echo` end a file with a line break that is not part of the secret.
    Ok(text.strip_suffix('\n').map_or(text.as_str(), |text| text.strip_suffix('\r').unwrap_or(text)).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: Result<&str, &str>) {
        let variable = |name: &str| (name == "USER_NAME").then(|| "ann ${HOME}".to_owned());
        match (expand(text, &variable), expect) {
            (Ok(came), Ok(expect)) => assert_eq!(came, expect),
            (Err((what, _)), Err(expect)) => assert!(what.contains(expect), "{what}"),
            (came, expect) => panic!("{text}: {came:?}, not {expect:?}"),
        }
    }

    #[test]
    fn variables_and_files_are_put_in_once() {
        check("plain", Ok("plain"));
        check("a ${USER_NAME} b", Ok("a ann ${HOME} b"));
        check("$$5 $${USER_NAME}", Ok("$5 ${USER_NAME}"));
        check("${NOT_THERE}", Err("no variable NOT_THERE"));
        check("a $ b", Err("begins nothing"));
        check("${USER_NAME", Err("begins nothing"));
        check("${file:/does/not/exist}", Err("/does/not/exist cannot be taken"));
        let file = std::env::temp_dir().join(format!("trailhound-expand-{}", std::process::id()));
        std::fs::write(&file, "s3cret\n").unwrap();
        check(&format!("${{file:{}}}", file.display()), Ok("s3cret"));
        std::fs::write(&file, vec![b'x'; (64 << 10) + 1]).unwrap();
        check(&format!("${{file:{}}}", file.display()), Err("over the limit"));
        std::fs::remove_file(&file).unwrap();
    }
}
