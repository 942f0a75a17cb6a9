//! The elements this crate knows by name.

macro_rules! tags {
    ($($variant:ident $name:literal)*) => {
        /// What a node is. Elements without a variant are `Unknown` and keep their name in the tree.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(u8)]
        pub(crate) enum Tag { Document, Text, Unknown, $($variant,)* }

        impl Tag {
            /// The tag of that lower-case name.
            pub(crate) fn from_name(name: &str) -> Self {
                match name { $($name => Self::$variant,)* _ => Self::Unknown }
            }

            /// The element's name; empty for what has no variant.
            pub(crate) fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* _ => "" }
            }
        }
    };
}

tags! {
    A "a" Abbr "abbr" Acronym "acronym" Address "address" Applet "applet" Area "area" Article "article" Aside "aside"
    Audio "audio" B "b" Base "base" Basefont "basefont" Bdi "bdi" Bdo "bdo" Bgsound "bgsound" Big "big"
    Blockquote "blockquote" Body "body" Br "br" Button "button" Canvas "canvas" Caption "caption" Center "center"
    Cite "cite" Code "code" Col "col" Colgroup "colgroup" Data "data" Datalist "datalist" Dd "dd" Del "del"
    Details "details" Dfn "dfn" Dialog "dialog" Dir "dir" Div "div" Dl "dl" Dt "dt" Em "em" Embed "embed"
    Fieldset "fieldset" Figcaption "figcaption" Figure "figure" Font "font" Footer "footer" Form "form" Frame "frame"
    Frameset "frameset" H1 "h1" H2 "h2" H3 "h3" H4 "h4" H5 "h5" H6 "h6" Head "head" Header "header" Hgroup "hgroup"
    Hr "hr" Html "html" I "i" Iframe "iframe" Image "image" Img "img" Input "input" Ins "ins" Kbd "kbd" Keygen "keygen"
    Label "label" Legend "legend" Li "li" Link "link" Listing "listing" Main "main" Map "map" Mark "mark"
    Marquee "marquee" Math "math" Menu "menu" Meta "meta" Meter "meter" Nav "nav" Nobr "nobr" Noembed "noembed"
    Noframes "noframes" Noscript "noscript" Object "object" Ol "ol" Optgroup "optgroup" Option "option" Output "output"
    P "p" Param "param" Picture "picture" Plaintext "plaintext" Pre "pre" Progress "progress" Q "q" Rb "rb" Rp "rp"
    Rt "rt" Rtc "rtc" Ruby "ruby" S "s" Samp "samp" Script "script" Search "search" Section "section" Select "select"
    Slot "slot" Small "small" Source "source" Span "span" Strike "strike" Strong "strong" Style "style" Sub "sub"
    Summary "summary" Sup "sup" Svg "svg" Table "table" Tbody "tbody" Td "td" Template "template" Textarea "textarea"
    Tfoot "tfoot" Th "th" Thead "thead" Time "time" Title "title" Tr "tr" Track "track" Tt "tt" U "u" Ul "ul" Var "var"
    Video "video" Wbr "wbr" Xmp "xmp"
}

impl Tag {
    /// Never has children.
    pub(crate) fn is_void(self) -> bool {
        use Tag::*;
        matches!(
            self,
            Area | Base
                | Basefont
                | Bgsound
                | Br
                | Col
                | Embed
                | Frame
                | Hr
                | Image
                | Img
                | Input
                | Keygen
                | Link
                | Meta
                | Param
                | Source
                | Track
                | Wbr
        )
    }

    /// The formatting elements of the parsing rules: closed out of order, opened again.
    pub(crate) fn is_formatting(self) -> bool {
        use Tag::*;
        matches!(self, A | B | Big | Code | Em | Font | I | Nobr | S | Small | Strike | Strong | Tt | U)
    }

    /// One of `h1` to `h6`.
    pub(crate) fn is_heading(self) -> bool {
        self.heading_level().is_some()
    }

    /// 1 to 6 for headings.
    pub(crate) fn heading_level(self) -> Option<u8> {
        use Tag::*;
        Some(match self {
            H1 => 1,
            H2 => 2,
            H3 => 3,
            H4 => 4,
            H5 => 5,
            H6 => 6,
            _ => return None,
        })
    }

    /// Where only table parts may be children.
    pub(crate) fn is_table_context(self) -> bool {
        use Tag::*;
        matches!(self, Table | Tbody | Tfoot | Thead | Tr)
    }

    /// Closes an open paragraph, and is a block of its own when shown.
    pub(crate) fn closes_paragraph(self) -> bool {
        use Tag::*;
        matches!(
            self,
            Address
                | Article
                | Aside
                | Blockquote
                | Center
                | Details
                | Dialog
                | Dir
                | Div
                | Dl
                | Fieldset
                | Figcaption
                | Figure
                | Footer
                | Form
                | Header
                | Hgroup
                | Hr
                | Listing
                | Main
                | Menu
                | Nav
                | Ol
                | P
                | Plaintext
                | Pre
                | Search
                | Section
                | Summary
                | Table
                | Ul
                | Xmp
        ) || self.is_heading()
    }

    /// The "special" elements of the parsing rules: an end tag does not look past them.
    pub(crate) fn is_special(self) -> bool {
        use Tag::*;
        self.closes_paragraph()
            || self.is_void()
            || self.is_table_context()
            || matches!(
                self,
                Applet
                    | Body
                    | Button
                    | Caption
                    | Colgroup
                    | Dd
                    | Dt
                    | Frameset
                    | Head
                    | Html
                    | Iframe
                    | Li
                    | Marquee
                    | Noembed
                    | Noframes
                    | Noscript
                    | Object
                    | Script
                    | Select
                    | Style
                    | Td
                    | Template
                    | Textarea
                    | Th
                    | Title
            )
    }

    /// Whether it is a list of items.
    pub(crate) fn is_list(self) -> bool {
        matches!(self, Self::Ul | Self::Ol | Self::Menu | Self::Dir)
    }

    /// Begins on a line of its own when shown.
    pub(crate) fn is_block(self) -> bool {
        use Tag::*;
        self.closes_paragraph()
            || self.is_table_context()
            || matches!(
                self,
                Body | Caption
                    | Dd
                    | Dt
                    | Html
                    | Legend
                    | Li
                    | Noscript
                    | Optgroup
                    | Option
                    | Td
                    | Th
                    | Document
                    | Textarea
                    | Video
                    | Audio
            )
    }

    /// Closed without being asked to.
    pub(crate) fn has_implied_end(self) -> bool {
        use Tag::*;
        matches!(self, Dd | Dt | Li | Optgroup | Option | P | Rb | Rp | Rt | Rtc)
    }

    /// Ends the search for an element in scope.
    pub(crate) fn bounds_scope(self) -> bool {
        use Tag::*;
        matches!(self, Applet | Caption | Html | Table | Td | Th | Marquee | Object | Template | Body)
    }

    /// HTML elements that end foreign content.
    pub(crate) fn leaves_foreign(self) -> bool {
        use Tag::*;
        matches!(
            self,
            B | Big
                | Blockquote
                | Body
                | Br
                | Center
                | Code
                | Dd
                | Div
                | Dl
                | Dt
                | Em
                | Embed
                | Head
                | Hr
                | I
                | Img
                | Li
                | Listing
                | Menu
                | Meta
                | Nobr
                | Ol
                | P
                | Pre
                | Ruby
                | S
                | Small
                | Span
                | Strong
                | Strike
                | Sub
                | Sup
                | Table
                | Tt
                | U
                | Ul
                | Var
        ) || self.is_heading()
    }
}
