//! Content streams → pieces of text with their places. Only what moves or shows text is followed.

use std::{collections::HashMap, rc::Rc};

use lopdf::{Dictionary, Document, Error, Object, ObjectId};

use super::{
    MAX_STREAM_BYTES,
    fonts::{Font, array_of, dictionary, number},
    tokens::{Token, Tokens},
};
use crate::{ExtractError, budget::Budget};

/// Forms within each other, at most.
const MAX_FORMS_DEPTH: usize = 12;
/// Saved states, at most.
const MAX_STATES: usize = 512;
/// Operands of one operator, at most.
const MAX_OPERANDS: usize = 4096;
/// Characters of one document, at most.
const MAX_CHARACTERS: usize = 8 * 1024 * 1024;
/// Decoded bytes of all streams of a document, at most.
const MAX_TOTAL_BYTES: usize = 256 * 1024 * 1024;
/// What the shortest piece takes besides its place in a list, in bytes.
const PIECE_BYTES: usize = 64;
/// Characters closer than this, in parts of the size, belong together.
const SPACE: f32 = 0.17;
/// Characters farther apart than this are no longer one piece.
const GAP: f32 = 1.4;

/// Text that was shown in one go along a line.
#[derive(Debug, Clone)]
pub(super) struct Piece {
    pub(super) text: String,
    /// By character of the text: where it begins.
    pub(super) places: Vec<f32>,
    pub(super) x: f32,
    pub(super) end: f32,
    /// Upwards.
    pub(super) y: f32,
    pub(super) size: f32,
    pub(super) bold: bool,
    pub(super) mono: bool,
    /// Quarter turns from upright.
    pub(super) turns: u8,
}

type Matrix = [f32; 6];

const IDENTITY: Matrix = [1.0, 0.0, 0.0, 1.0, 0.0, 0.0];

fn times(a: &Matrix, b: &Matrix) -> Matrix {
    [
        a[0] * b[0] + a[1] * b[2],
        a[0] * b[1] + a[1] * b[3],
        a[2] * b[0] + a[3] * b[2],
        a[2] * b[1] + a[3] * b[3],
        a[4] * b[0] + a[5] * b[2] + b[4],
        a[4] * b[1] + a[5] * b[3] + b[5],
    ]
}

#[derive(Clone)]
struct State {
    matrix: Matrix,
    font: Option<Rc<Font>>,
    size: f32,
    character_space: f32,
    word_space: f32,
    scale: f32,
    leading: f32,
    rise: f32,
}

/// Reads the pages of one document.
pub(super) struct Shower<'d, 'b> {
    document: &'d Document,
    budget: &'b Budget<'b>,
    /// By object, or by address where a font is no object of its own.
    fonts: HashMap<(ObjectId, usize), Rc<Font>>,
    bytes: usize,
    characters: usize,
    pieces: Vec<Piece>,
    /// What the pieces take besides their list.
    pieces_memory: usize,
}

/// A stream being read.
struct Run<'d> {
    resources: Option<&'d Dictionary>,
    state: State,
    saved: Vec<State>,
    text: Matrix,
    line: Matrix,
    depth: usize,
}

impl<'d, 'b> Shower<'d, 'b> {
    pub(super) fn new(document: &'d Document, budget: &'b Budget<'b>) -> Self {
        Self { document, budget, fonts: HashMap::new(), bytes: 0, characters: 0, pieces: Vec::new(), pieces_memory: 0 }
    }

    /// The text of a page, in the order in which it is shown.
    pub(super) fn page<T>(
        &mut self,
        id: ObjectId,
        read: impl FnOnce(&[Piece]) -> Result<T, ExtractError>,
    ) -> Result<T, ExtractError> {
        self.show_page(id)?;
        let pieces = std::mem::take(&mut self.pieces);
        let read = read(&pieces)?;
        self.budget.free(std::mem::take(&mut self.pieces_memory) + pieces.capacity() * size_of::<Piece>());
        Ok(read)
    }

    /// Gathers the pieces of a page.
    fn show_page(&mut self, id: ObjectId) -> Result<(), ExtractError> {
        let resources = self.resources(id);
        self.budget.spend(1024)?;
        if self.bytes >= MAX_TOTAL_BYTES {
            return Ok(());
        }
        let most = self.stream_limit();
        let content = match self.document.get_page_content_with_limit(id, most) {
            Ok(content) => content,
            Err(error) if most < MAX_STREAM_BYTES && is_too_large(&error) => {
                return Err(ExtractError::TooLarge { limit: self.budget.limit() });
            }
            Err(_) => return Ok(()),
        };
        self.budget.spend(content.len())?;
        self.budget.allocate(content.capacity())?;
        self.read(&content, resources, IDENTITY, 0)?;
        self.budget.free(content.capacity());
        Ok(())
    }

    /// A page's resources, its own or those that it inherits.
    fn resources(&self, id: ObjectId) -> Option<&'d Dictionary> {
        let mut page = self.document.get_dictionary(id).ok()?;
        for _ in 0..32 {
            if let Ok(resources) = page.get(b"Resources") {
                return dictionary(resources, self.document);
            }
            page = page.get_deref(b"Parent", self.document).and_then(Object::as_dict).ok()?;
        }
        None
    }

    fn read(
        &mut self,
        content: &[u8],
        resources: Option<&'d Dictionary>,
        matrix: Matrix,
        depth: usize,
    ) -> Result<(), ExtractError> {
        self.bytes += content.len();
        let state = State {
            matrix,
            font: None,
            size: 0.0,
            character_space: 0.0,
            word_space: 0.0,
            scale: 1.0,
            leading: 0.0,
            rise: 0.0,
        };
        let mut run = Run { resources, state, saved: Vec::new(), text: IDENTITY, line: IDENTITY, depth };
        let mut tokens = Tokens::new(content);
        let mut operands: Vec<Token<'_>> = Vec::new();
        let mut before = 0;
        while let Some(token) = tokens.next() {
            self.budget.spend(tokens.at() - std::mem::replace(&mut before, tokens.at()))?;
            match token {
                Token::Operator(b"ID") => {
                    tokens.skip_image();
                    operands.clear();
                }
                Token::Operator(operator) => {
                    self.operate(operator, &operands, &mut run)?;
                    operands.clear();
                }
                operand if operands.len() < MAX_OPERANDS => operands.push(operand),
                _ => {}
            }
        }
        Ok(())
    }

    fn operate(&mut self, operator: &[u8], operands: &[Token<'_>], run: &mut Run<'d>) -> Result<(), ExtractError> {
        let number = |at: usize| match operands.get(at) {
            Some(Token::Number(value)) => *value,
            _ => 0.0,
        };
        match operator {
            b"q" if run.saved.len() < MAX_STATES => run.saved.push(run.state.clone()),
            b"Q" => {
                if let Some(state) = run.saved.pop() {
                    run.state = state;
                }
            }
            b"cm" => run.state.matrix = times(&matrix_of(operands), &run.state.matrix),
            b"BT" => (run.text, run.line) = (IDENTITY, IDENTITY),
            b"Tc" => run.state.character_space = number(0),
            b"Tw" => run.state.word_space = number(0),
            b"Tz" => run.state.scale = number(0) / 100.0,
            b"TL" => run.state.leading = number(0),
            b"Ts" => run.state.rise = number(0),
            b"Tf" => {
                run.state.size = number(1);
                if let Some(Token::Name(name)) = operands.first() {
                    run.state.font = self.font(name, run)?;
                }
            }
            b"Td" => next_line(run, number(0), number(1)),
            b"TD" => {
                run.state.leading = -number(1);
                next_line(run, number(0), number(1));
            }
            b"Tm" => {
                run.line = matrix_of(operands);
                run.text = run.line;
            }
            b"T*" => next_line(run, 0.0, -run.state.leading),
            b"Tj" | b"TJ" => self.show_all(operands, run)?,
            b"'" => {
                next_line(run, 0.0, -run.state.leading);
                self.show_all(operands, run)?;
            }
            b"\"" => {
                (run.state.word_space, run.state.character_space) = (number(0), number(1));
                next_line(run, 0.0, -run.state.leading);
                self.show_all(operands.get(2..).unwrap_or_default(), run)?;
            }
            b"Do" => {
                if let Some(Token::Name(name)) = operands.first() {
                    self.form(name, run)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn font(&mut self, name: &[u8], run: &Run<'d>) -> Result<Option<Rc<Font>>, ExtractError> {
        let document = self.document;
        let fonts = run.resources.and_then(|resources| dictionary(resources.get(b"Font").ok()?, document));
        let Some(object) = fonts.and_then(|fonts| fonts.get(name).ok()) else { return Ok(None) };
        let Some(read) = dictionary(object, document) else { return Ok(None) };
        let key = (object.as_reference().unwrap_or_default(), std::ptr::from_ref(read).addr());
        if let Some(font) = self.fonts.get(&key) {
            return Ok(Some(font.clone()));
        }
        self.budget.spend(64 * 1024)?;
        let font = Rc::new(Font::of(read, document, self.budget)?);
        self.fonts.insert(key, font.clone());
        Ok(Some(font))
    }

    /// Reads a form as if it stood here.
    fn form(&mut self, name: &[u8], run: &Run<'d>) -> Result<(), ExtractError> {
        self.budget.spend(1024)?;
        if run.depth >= MAX_FORMS_DEPTH || self.bytes >= MAX_TOTAL_BYTES {
            return Ok(());
        }
        let document = self.document;
        let forms = run.resources.and_then(|resources| dictionary(resources.get(b"XObject").ok()?, document));
        let Some(Ok(stream)) = forms.map(|forms| forms.get_deref(name, document).and_then(Object::as_stream)) else {
            return Ok(());
        };
        let kind = stream.dict.get_deref(b"Subtype", document).and_then(Object::as_name);
        if kind.ok() != Some(b"Form".as_slice()) {
            return Ok(());
        }
        let most = self.stream_limit();
        let content = match stream.get_plain_content_with_limit(most) {
            Ok(content) => content,
            Err(error) if most < MAX_STREAM_BYTES && is_too_large(&error) => {
                return Err(ExtractError::TooLarge { limit: self.budget.limit() });
            }
            Err(_) => return Ok(()),
        };
        self.budget.spend(content.len())?;
        self.budget.allocate(content.capacity())?;
        let own = stream.dict.get(b"Resources").ok().and_then(|resources| dictionary(resources, document));
        let placed = array_of(&stream.dict, b"Matrix", document).and_then(|values| {
            let values: Vec<f32> = values.iter().filter_map(|value| number(value, document)).collect();
            Matrix::try_from(values).ok()
        });
        let matrix = times(&placed.unwrap_or(IDENTITY), &run.state.matrix);
        self.read(&content, own.or(run.resources), matrix, run.depth + 1)?;
        self.budget.free(content.capacity());
        Ok(())
    }

    /// What a stream may inflate to: the library's buffers for it take four times as much while they grow.
    fn stream_limit(&self) -> usize {
        MAX_STREAM_BYTES.min(self.budget.left() / 4)
    }

    fn show_all(&mut self, operands: &[Token<'_>], run: &mut Run<'d>) -> Result<(), ExtractError> {
        let Some(font) = run.state.font.clone() else { return Ok(()) };
        for operand in operands {
            match operand {
                Token::Text(bytes) => self.show(bytes, &font, run)?,
                Token::Number(back) => {
                    let shift = -back / 1000.0 * run.state.size * run.state.scale;
                    run.text = times(&[1.0, 0.0, 0.0, 1.0, shift, 0.0], &run.text);
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn show(&mut self, bytes: &[u8], font: &Font, run: &mut Run<'d>) -> Result<(), ExtractError> {
        let state = &run.state;
        let text = &mut run.text;
        font.show(bytes, |shown| {
            self.budget.spend(0)?;
            let whole = times(text, &state.matrix);
            let width = shown.width / 1000.0 * state.size * state.scale;
            let spaces = state.character_space + if shown.is_space { state.word_space } else { 0.0 };
            let advance = width + spaces * state.scale;
            let (piece, end) = place(&whole, state, width);
            if self.characters < MAX_CHARACTERS && !shown.text.is_empty() && piece.size.is_finite() {
                self.characters += shown.text.len();
                self.budget.reserve(&mut self.pieces, 1)?;
                let count = self.pieces.len();
                add(&mut self.pieces, piece, end, shown.text, font);
                // Text and places double as they grow.
                let new = if self.pieces.len() > count { PIECE_BYTES } else { 0 };
                let memory = new + (shown.text.len() + 1) * 16;
                self.budget.allocate(memory)?;
                self.pieces_memory += memory;
            }
            *text = times(&[1.0, 0.0, 0.0, 1.0, advance, 0.0], text);
            Ok(())
        })
    }
}

/// Whether a stream inflates to more than it was allowed to. The library does not export the kind of its error.
fn is_too_large(error: &Error) -> bool {
    matches!(error, Error::Decompress(error) if format!("{error:?}").starts_with("MemoryLimitExceeded"))
}

fn matrix_of(operands: &[Token<'_>]) -> Matrix {
    let mut matrix = [0.0; 6];
    for (place, operand) in matrix.iter_mut().zip(operands) {
        if let Token::Number(value) = operand {
            *place = *value;
        }
    }
    matrix
}

fn next_line(run: &mut Run<'_>, x: f32, y: f32) {
    run.line = times(&[1.0, 0.0, 0.0, 1.0, x, y], &run.line);
    run.text = run.line;
}

/// Where a character of that width stands, the page turned so that its line runs to the right; and where it ends.
fn place(whole: &Matrix, state: &State, width: f32) -> (Piece, f32) {
    let (along, across) = (whole[0].hypot(whole[1]), whole[2].hypot(whole[3]));
    let [x, y] = [whole[4] + state.rise * whole[2], whole[5] + state.rise * whole[3]];
    let turns = if whole[0].abs() >= whole[1].abs() {
        if whole[0] >= 0.0 { 0 } else { 2 }
    } else if whole[1] > 0.0 {
        1
    } else {
        3
    };
    let (x, y) = match turns {
        0 => (x, y),
        1 => (y, -x),
        2 => (-x, -y),
        _ => (-y, x),
    };
    let size = (state.size * across).abs();
    let piece = Piece { text: String::new(), places: Vec::new(), x, end: x, y, size, bold: false, mono: false, turns };
    (piece, x + width * along)
}

/// Adds a character to the last piece, if it goes on there, or as a new one.
fn add(pieces: &mut Vec<Piece>, mut new: Piece, end: f32, text: &str, font: &Font) {
    let character_count = text.chars().count();
    (new.bold, new.mono) = (font.bold, font.mono);
    if let Some(last) = pieces.last_mut()
        && last.turns == new.turns
        && last.bold == new.bold
        && last.mono == new.mono
        && (last.size - new.size).abs() < 0.05 * new.size.max(0.1)
        && (last.y - new.y).abs() < 0.1 * new.size.max(0.1)
    {
        let gap = new.x - last.end;
        if gap > -0.6 * new.size && gap < GAP * new.size {
            if gap > SPACE * new.size && !last.text.ends_with(' ') && text != " " {
                last.text.push(' ');
                last.places.push(last.end);
            }
            last.text.push_str(text);
            last.places.extend(std::iter::repeat_n(new.x, character_count));
            last.end = end.max(last.end);
            return;
        }
    }
    new.end = end;
    new.text.push_str(text);
    new.places = vec![new.x; character_count];
    pieces.push(new);
}
