fn main() {
    println!("<b>");
}
