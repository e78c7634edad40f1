//! XML as routers write it: elements and their texts, one after another.

use quick_xml::Reader;
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::Event;

use super::Error;

/// Elements within each other. Descriptions of routers have nine.
const DEPTH_MAX: usize = 32;

/// What is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mark<'a> {
    /// An element with this name, without prefix, begins.
    Opened(&'a str),
    /// One ends, and this text stood before its end, behind the last other element.
    Closed(&'a str, &'a str),
}

/// Reads a document. It is read piece by piece and not as a tree, so that nothing of it is a matter of this program's stack.
pub(crate) fn read(document: &str, mut tell: impl FnMut(Mark<'_>)) -> Result<(), Error> {
    let mut reader = Reader::from_str(document);
    let (mut depth, mut text) = (0_usize, String::new());
    loop {
        match reader.read_event().map_err(|_| Error::Xml)? {
            Event::Start(start) => {
                depth += 1;
                if depth > DEPTH_MAX {
                    return Err(Error::Deep);
                }
                text.clear();
                tell(Mark::Opened(start.local_name().as_ref()));
            }
            Event::End(end) => {
                depth = depth.saturating_sub(1);
                tell(Mark::Closed(end.local_name().as_ref(), text.trim()));
                text.clear();
            }
            Event::Empty(empty) => {
                let name = empty.local_name();
                text.clear();
                tell(Mark::Opened(name.as_ref()));
                tell(Mark::Closed(name.as_ref(), ""));
            }
            Event::Text(part) => text.push_str(&part),
            Event::CData(part) => text.push_str(&part),
            Event::GeneralRef(reference) => match reference.resolve_char_ref().map_err(|_| Error::Xml)? {
                Some(char) => text.push(char),
                // What the document defines itself is not looked at.
                None => text.push_str(resolve_predefined_entity(&reference).ok_or(Error::Xml)?),
            },
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::DocType(_) => {}
            Event::Eof => return if depth == 0 { Ok(()) } else { Err(Error::Xml) },
        }
    }
}

/// Text as it stands in a document.
pub(crate) fn escaped(text: &str) -> std::borrow::Cow<'_, str> {
    quick_xml::escape::escape(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn texts(document: &str) -> Result<Vec<(String, String)>, Error> {
        let mut texts = Vec::new();
        read(document, |mark| {
            if let Mark::Closed(name, text) = mark {
                texts.push((name.to_owned(), text.to_owned()));
            }
        })?;
        Ok(texts)
    }

    #[test]
    fn elements_have_names_and_texts() {
        let document = "\u{feff}<?xml version=\"1.0\"?><!DOCTYPE a [<!ENTITY x \"y\">]><u:a xmlns:u='u'> x <b> /c?d=1&amp;e&#61;2 \
                        </b ><!-- no --><c/><d><![CDATA[<e>]]></d></u:a>";
        let found = texts(document).expect("XML");
        let expected = [("b", "/c?d=1&e=2"), ("c", ""), ("d", "<e>"), ("a", "")];
        assert!(found.iter().map(|(name, text)| (&**name, &**text)).eq(expected), "{found:?}");
        for wrong in ["<a>", "<a></b>", "<a>&x;</a>", "<a>&#0;</a>", "<a", "</a>"] {
            assert!(matches!(texts(wrong), Err(Error::Xml)), "{wrong}");
        }
    }

    #[test]
    fn depth_has_a_bound() {
        let deep = |depth: usize| "<a>".repeat(depth) + &"</a>".repeat(depth);
        assert_eq!(texts(&deep(DEPTH_MAX)).expect("XML").len(), DEPTH_MAX);
        assert!(matches!(texts(&deep(DEPTH_MAX + 1)), Err(Error::Deep)));
        assert!(matches!(texts(&"<a>".repeat(100_000)), Err(Error::Deep)));
    }

    proptest! {
        #[test]
        fn any_text_is_read_to_its_end(parts in proptest::collection::vec("[<>/a&;!\\-\\[\\]?#x ]{0,8}|<a>|</a>|<a/>", 0..64)) {
            let document = parts.concat();
            if let Ok(found) = texts(&document) {
                prop_assert!(found.iter().map(|(_, text)| text.len()).sum::<usize>() <= document.len());
            }
        }

        #[test]
        fn texts_come_back(text in "[ -~]{0,64}") {
            let found = texts(&format!("<a>{}</a>", escaped(&text))).expect("XML");
            prop_assert_eq!(&found, &[("a".to_owned(), text.trim().to_owned())]);
        }
    }
}
