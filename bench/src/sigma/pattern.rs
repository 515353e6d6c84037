//! Sigma's values as patterns for a whole text.

use anyhow::{Context as _, Result, bail};
use rsigma_parser::{Modifier, SigmaString, SigmaValue, SpecialChar, StringPart};

use super::table::{Pattern, Piece};

/// A value under its modifiers. Null has no pattern.
pub(super) fn of(value: &SigmaValue, modifiers: &[Modifier]) -> Result<Pattern> {
    let has = |modifier| modifiers.contains(&modifier);
    let known =
        [Modifier::All, Modifier::Cased, Modifier::Contains, Modifier::EndsWith, Modifier::Re, Modifier::StartsWith];
    if let Some(unknown) = modifiers.iter().find(|modifier| !known.contains(modifier)) {
        bail!("the modifier {unknown:?} is not supported here");
    }
    if has(Modifier::Re) {
        let SigmaValue::String(text) = value else { bail!("a regular expression that is no text") };
        let pieces = regex(&text.original).with_context(|| format!("the regular expression {}", text.original))?;
        return Ok(Pattern { cased: true, pieces: tidy(pieces) });
    }
    let mut pieces = match value {
        SigmaValue::String(text) => wildcards(text),
        SigmaValue::Integer(number) => vec![Piece::Text(number.to_string())],
        SigmaValue::Bool(bool) => vec![Piece::Text(bool.to_string())],
        SigmaValue::Float(_) | SigmaValue::Null => bail!("the value {value:?} is not supported here"),
    };
    if has(Modifier::Contains) || has(Modifier::EndsWith) {
        pieces.insert(0, Piece::Run);
    }
    if has(Modifier::Contains) || has(Modifier::StartsWith) {
        pieces.push(Piece::Run);
    }
    Ok(Pattern { cased: has(Modifier::Cased), pieces: tidy(pieces) })
}

fn wildcards(text: &SigmaString) -> Vec<Piece> {
    let piece = |part: &StringPart| match part {
        StringPart::Plain(text) => Piece::Text(text.clone()),
        StringPart::Special(SpecialChar::WildcardMulti) => Piece::Run,
        StringPart::Special(SpecialChar::WildcardSingle) => Piece::One,
    };
    text.parts.iter().map(piece).collect()
}

/// A regular expression that has nothing but letters and `.`, `.+`, `.*`, which is all that these rules have; others are
/// refused. Unanchored, as Sigma's are. (A dot takes a line's end here: no field that is asked has one.)
fn regex(text: &str) -> Result<Vec<Piece>> {
    let mut pieces = vec![Piece::Run];
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '.' => match letters.next_if(|next| "+*".contains(*next)) {
                Some('+') => pieces.extend([Piece::One, Piece::Run]),
                Some(_) => pieces.push(Piece::Run),
                None => pieces.push(Piece::One),
            },
            '\\' => match letters.next() {
                Some(escaped) if escaped.is_ascii_punctuation() => push(&mut pieces, escaped),
                _ => bail!("a class is not supported here"),
            },
            _ if "^$[](){}|?+*".contains(letter) => bail!("`{letter}` is not supported here"),
            _ => push(&mut pieces, letter),
        }
        if letters.peek().is_some_and(|next| "?+*{".contains(*next)) {
            bail!("a repetition is not supported here");
        }
    }
    pieces.push(Piece::Run);
    Ok(pieces)
}

fn push(pieces: &mut Vec<Piece>, letter: char) {
    match pieces.last_mut() {
        Some(Piece::Text(text)) => text.push(letter),
        _ => pieces.push(Piece::Text(letter.into())),
    }
}

/// Of neighbouring wildcards the single ones first and one run at most, so that nothing is tried twice.
fn tidy(pieces: Vec<Piece>) -> Vec<Piece> {
    let mut tidied = Vec::new();
    let mut run = false;
    for piece in pieces {
        match piece {
            Piece::Run => run = true,
            Piece::One => tidied.push(Piece::One),
            Piece::Text(text) => {
                if std::mem::take(&mut run) {
                    tidied.push(Piece::Run);
                }
                tidied.push(Piece::Text(text));
            }
        }
    }
    tidied.extend(run.then_some(Piece::Run));
    tidied
}

/// A text that the pattern takes.
pub(super) fn example(pattern: &Pattern) -> String {
    let text = |piece: &Piece| match piece {
        Piece::Text(text) => text.clone(),
        Piece::One => "x".to_owned(),
        Piece::Run => String::new(),
    };
    pattern.pieces.iter().map(text).collect()
}
