//! Time waited by stack, drawn: an SVG that a browser shows and searches.

use super::folded::{Folded, NOTHING, Side};
use inferno::flamegraph::{Options, Palette, color::MultiPalette, from_lines};
use std::io::{self, Write};

/// Draws the stacks of one side.
pub fn write(out: &mut dyn Write, folded: &Folded, side: Side) -> io::Result<()> {
    let lines: Vec<_> = folded
        .lines()
        .map(|(stack, us)| format!("{stack} {us}"))
        .collect();
    let title = match side {
        Side::Holder => "Where the GIL was had while others waited for it",
        Side::Waiter => "Where threads waited for the GIL",
    };
    if lines.is_empty() {
        return nothing(out, title);
    }
    let mut options = Options::default();
    options.title = title.to_owned();
    options.count_name = "µs waited".to_owned();
    // By where the file lies: the program's own, installed, or the standard library's.
    options.colors = Palette::Multi(MultiPalette::Python);
    options.deterministic = true;
    // They are sorted by stack, which is what it checks; it would sort by line.
    options.no_sort = true;
    from_lines(&mut options, lines.iter().map(String::as_str), out)
}

/// The library refuses to draw nothing.
fn nothing(out: &mut dyn Write, title: &str) -> io::Result<()> {
    writeln!(
        out,
        r#"<svg xmlns="http://www.w3.org/2000/svg" width="1200" height="80" font-family="monospace" text-anchor="middle">
<text x="600" y="30">{title}</text>
<text x="600" y="60">{NOTHING}</text>
</svg>"#
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;
    use crate::output::{
        flamegraph,
        sample::{process, report},
    };

    fn texts(side: Side, folded: &Folded) -> String {
        let mut svg = Vec::new();
        flamegraph::write(&mut svg, folded, side).unwrap();
        let svg = String::from_utf8(svg).unwrap();
        let options = roxmltree::ParsingOptions {
            allow_dtd: true,
            ..Default::default()
        };
        let document = roxmltree::Document::parse_with_options(&svg, options).unwrap();
        assert!(
            document
                .root_element()
                .has_tag_name(("http://www.w3.org/2000/svg", "svg"))
        );
        let texts = document.descendants().filter_map(|node| node.text());
        texts.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn each_function_is_a_box() {
        let report = report(process());
        for (side, title) in [
            (Side::Holder, "Where the GIL was had"),
            (Side::Waiter, "Where threads waited"),
        ] {
            let texts = texts(side, &Folded::of(&report, side));
            for part in [title, "App.render (/srv/app/app.py:98) (", "µs waited, "] {
                assert!(texts.contains(part), "{part}: {texts}");
            }
        }
    }

    #[test]
    fn hostile_names_stay_text() {
        let mut process = process();
        for stack in &mut process.stacks {
            for frame in &mut stack.frames {
                frame.qualified_name = Some("</text><script a='\"'>&\0\u{ffff}]]>_[k]".to_owned());
            }
        }
        let folded = Folded::of(&report(process), Side::Holder);
        let texts = texts(Side::Holder, &folded);
        assert!(
            texts.contains("</text><script a='\"'>&��]]>_[k] ("),
            "{texts}"
        );
    }

    /// The library takes the order of lines for that of stacks.
    #[test]
    fn a_function_called_as_another_with_its_line() {
        let mut process = process();
        process.stacks[1].frames[0].qualified_name =
            Some("App.handle (/srv/app/app.py:12)".to_owned());
        for row in &mut process.waited_at {
            row.holder = Some(4_243);
        }
        texts(Side::Holder, &Folded::of(&report(process), Side::Holder));
    }

    #[test]
    fn nothing_is_drawn_too() {
        assert!(texts(Side::Waiter, &Folded::default()).contains(NOTHING));
    }
}
