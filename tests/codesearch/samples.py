"""A sample of each language, with the type, qualified name and comment of each expected chunk."""

SAMPLES = {
    "javascript": (
        r"""
/** Adds two numbers. */
export function add(a, b) { return a + b }

// A stack of things.
class Stack extends Base {
  /* Puts one on top. */
  push(item) { this.items.push(item) }
}

// Twice as much.
const twice = (x) => {
  return 2 * x
}
module.exports.halve = function (x) { return x / 2 }
const o = { area(w) { return w }, size: function () { return 1 } }
""",
        [
            ("function", "add", "Adds two numbers."),
            ("class", "Stack", "A stack of things."),
            ("method", "Stack.push", "Puts one on top."),
            ("function", "twice", "Twice as much."),
            ("function", "module.exports.halve", ""),
            ("method", "area", ""),
            ("function", "size", ""),
        ],
    ),
    "typescript": (
        r"""
/** What can be drawn. */
export interface Shape { area(): number }
export enum Color { Red, Green }
export type Pair<T> = [T, T]
namespace Geometry {
  // A round shape.
  export abstract class Circle implements Shape {
    constructor(private r: number) {}
    /** Its area. */
    area(): number { return Math.PI * this.r ** 2 }
  }
}
export const square = async (x: number): Promise<number> => x * x
""",
        [
            ("class", "Shape", "What can be drawn."),
            ("method", "Shape.area", ""),
            ("class", "Color", ""),
            ("class", "Pair", ""),
            ("class", "Geometry.Circle", "A round shape."),
            ("method", "Geometry.Circle.constructor", ""),
            ("method", "Geometry.Circle.area", "Its area."),
            ("function", "square", ""),
        ],
    ),
    "java": (
        r"""
package a.b;
/** A till. */
public class Till {
    /** Takes money. */
    @Override
    public int take(int coins) { return coins; }
    Till() { }
    enum Kind { BIG }
    interface Listener { void heard(String what); }
}
record Point(int x, int y) {}
""",
        [
            ("class", "Till", "A till."),
            ("method", "Till.take", "Takes money."),
            ("method", "Till.Till", ""),
            ("class", "Till.Kind", ""),
            ("class", "Till.Listener", ""),
            ("method", "Till.Listener.heard", ""),
            ("class", "Point", ""),
        ],
    ),
    "c": (
        r"""
#include <stdio.h>
/* The longest line. */
struct line { int length; };
typedef struct { int x; } point;
enum color { RED };
#define MAX(a, b) ((a) > (b) ? (a) : (b))
// Reads one line.
static char *read_line(FILE *in,
                       int max)
{
    return 0;
}
""",
        [
            ("class", "line", "The longest line."),
            ("class", "point", ""),
            ("class", "color", ""),
            ("function", "MAX", ""),
            ("function", "read_line", "Reads one line."),
        ],
    ),
    "c++": (
        r"""
namespace shop {
// What is sold.
class Item : public Base {
 public:
  // Its price.
  int price() const { return 1; }
  ~Item() {}
};
/// The larger one.
template <typename T>
T larger(T a, T b) { return a > b ? a : b; }
int Item::weight(int unit) { return unit; }
}
""",
        [
            ("class", "shop.Item", "What is sold."),
            ("method", "shop.Item.price", "Its price."),
            ("method", "shop.Item.~Item", ""),
            ("function", "shop.larger", "The larger one."),
            ("function", "shop.Item.weight", ""),
        ],
    ),
    "c#": (
        r"""
namespace Shop {
  /// <summary>What is sold.</summary>
  public class Item : Base {
    /// <summary>Its price.</summary>
    public int Price(int tax) { return tax; }
    public Item() {}
    public string Name { get; set; }
  }
  interface ISold { void Sell(); }
  enum Kind { Big }
  struct Point { int x; }
  record Person(string Name);
}
""",
        [
            ("class", "Shop.Item", "What is sold."),
            ("method", "Shop.Item.Price", "Its price."),
            ("method", "Shop.Item.Item", ""),
            ("class", "Shop.ISold", ""),
            ("method", "Shop.ISold.Sell", ""),
            ("class", "Shop.Kind", ""),
            ("class", "Shop.Point", ""),
            ("class", "Shop.Person", ""),
        ],
    ),
    "go": (
        r"""
package main

// Stack holds things.
type Stack[T any] struct { items []T }

type Reader interface { Read() int }

// Push puts one on top.
func (s *Stack[T]) Push(item T) error { return nil }

// main runs.
func main() {}
""",
        [
            ("class", "Stack", "Stack holds things."),
            ("class", "Reader", ""),
            ("method", "Stack.Push", "Push puts one on top."),
            ("function", "main", "main runs."),
        ],
    ),
    "rust": (
        r"""
/// A stack.
#[derive(Debug)]
pub struct Stack { items: Vec<u8> }

impl Stack {
    /// Puts one on top.
    pub fn push(&mut self, item: u8) -> bool { true }
}
impl Draw for Stack { fn draw(&self) {} }
trait Draw { fn draw(&self); }
mod inner { pub enum E { A } fn f() {} }
macro_rules! twice { ($x:expr) => { $x + $x } }
""",
        [
            ("class", "Stack", "A stack."),
            ("method", "Stack.push", "Puts one on top."),
            ("method", "Stack.draw", ""),
            ("class", "Draw", ""),
            ("method", "Draw.draw", ""),
            ("class", "inner.E", ""),
            ("function", "inner.f", ""),
            ("function", "twice", ""),
        ],
    ),
    "php": (
        r"""
<?php
namespace App;
/** A till. */
class Till extends Base {
    /** Takes money. */
    public function take(int $coins): int { return $coins; }
}
interface Sold { function sell(); }
trait Cheap { function price() { return 1; } }
// Adds.
function add($a, $b) { return $a + $b; }
""",
        [
            ("class", "Till", "A till."),
            ("method", "Till.take", "Takes money."),
            ("class", "Sold", ""),
            ("method", "Sold.sell", ""),
            ("class", "Cheap", ""),
            ("method", "Cheap.price", ""),
            ("function", "add", "Adds."),
        ],
    ),
    "ruby": (
        r"""
# What a shop sells.
module Shop
  # One thing.
  class Item < Base
    # Its price.
    def price(tax)
      tax
    end
    def self.all
      []
    end
  end
end
def top; end
""",
        [
            ("class", "Shop", "What a shop sells."),
            ("class", "Shop.Item", "One thing."),
            ("method", "Shop.Item.price", "Its price."),
            ("method", "Shop.Item.all", ""),
            ("function", "top", ""),
        ],
    ),
    "kotlin": (
        r"""
package shop
/** One thing. */
data class Item(val name: String) {
    /** Its price. */
    fun price(tax: Int): Int { return tax }
    companion object {
        fun all() = 1
    }
}
interface Sold {
    fun sell()
}
object Shop {
    fun open() {}
}
// Adds.
fun add(a: Int, b: Int) = a + b
""",
        [
            ("class", "Item", "One thing."),
            ("method", "Item.price", "Its price."),
            ("method", "Item.Companion.all", ""),
            ("class", "Sold", ""),
            ("method", "Sold.sell", ""),
            ("class", "Shop", ""),
            ("method", "Shop.open", ""),
            ("function", "add", "Adds."),
        ],
    ),
    "swift": (
        r"""
/// One thing.
struct Item: Sold {
    /// Its price.
    func price(tax: Int) -> Int { return tax }
    init(name: String) { }
}
protocol Sold { func sell() }
enum Kind { case big }
extension Item { func weigh() {} }
// Adds.
func add(_ a: Int, _ b: Int) -> Int { a + b }
""",
        [
            ("class", "Item", "One thing."),
            ("method", "Item.price", "Its price."),
            ("method", "Item.init", ""),
            ("class", "Sold", ""),
            ("method", "Sold.sell", ""),
            ("class", "Kind", ""),
            ("class", "Item", ""),
            ("method", "Item.weigh", ""),
            ("function", "add", "Adds."),
        ],
    ),
    "dart": (
        r"""
/// One thing.
class Item extends Base {
  /// Its price.
  int price(int tax) { return tax; }
  Item(this.name);
  String get label => 'x';
}
mixin Cheap { void drop() {} }
enum Kind { big }
// Adds.
int add(int a, int b) {
  return a + b;
}
""",
        [
            ("class", "Item", "One thing."),
            ("method", "Item.price", "Its price."),
            ("method", "Item.label", ""),
            ("class", "Cheap", ""),
            ("method", "Cheap.drop", ""),
            ("class", "Kind", ""),
            ("function", "add", "Adds."),
        ],
    ),
    "scala": (
        r"""
package shop
/** One thing. */
case class Item(name: String) extends Base {
  /** Its price. */
  def price(tax: Int): Int = { tax }
}
object Shop { def open(): Unit = () }
trait Sold { def sell(): Unit }
""",
        [
            ("class", "Item", "One thing."),
            ("method", "Item.price", "Its price."),
            ("class", "Shop", ""),
            ("method", "Shop.open", ""),
            ("class", "Sold", ""),
            ("method", "Sold.sell", ""),
        ],
    ),
    "lua": (
        r"""
-- Adds two numbers.
-- Quickly.
function add(a, b) return a + b end
local function hidden() end
local M = {}
-- A method.
function M.area(w) return w end
function M:size() return 1 end
M.other = function(x) return x end
""",
        [
            ("function", "add", "Adds two numbers.\nQuickly."),
            ("function", "hidden", ""),
            ("function", "M.area", "A method."),
            ("function", "M.size", ""),
            ("function", "M.other", ""),
        ],
    ),
    "perl": (
        r"""
package Shop::Item;
# Its price.
sub price { my ($self, $tax) = @_; return $tax; }
sub name { 1 }
1;
""",
        [
            ("function", "price", "Its price."),
            ("function", "name", ""),
        ],
    ),
    "bash": (
        r"""
#!/bin/bash
# Says hello.
hello() { echo hello; }
function bye { echo bye; }
""",
        [
            ("function", "hello", "Says hello."),
            ("function", "bye", ""),
        ],
    ),
    "powershell": (
        r"""
# Gets an item.
function Get-Item2 { param($Name) $Name }
class Shop { [int] Price([int]$tax) { return $tax } }
""",
        [
            ("function", "Get-Item2", "Gets an item."),
            ("class", "Shop", ""),
            ("method", "Shop.Price", ""),
        ],
    ),
    "objective-c": (
        r"""
/// One thing.
@interface Item : NSObject
- (int)price:(int)tax;
@end
@implementation Item
// Its price.
- (int)price:(int)tax with:(int)x { return tax; }
+ (Item *)all { return nil; }
@end
@protocol Sold
- (void)sell;
@end
int add(int a, int b) { return a + b; }
""",
        [
            ("class", "Item", "One thing."),
            ("method", "Item.price", ""),
            ("method", "Item.price", "Its price."),
            ("method", "Item.all", ""),
            ("class", "Sold", ""),
            ("method", "Sold.sell", ""),
            ("function", "add", ""),
        ],
    ),
    "sql": (
        r"""
-- What is sold.
CREATE TABLE items (id INT PRIMARY KEY, name TEXT);
CREATE VIEW cheap AS SELECT * FROM items WHERE id < 3;
-- Adds.
CREATE FUNCTION add_two(a INT, b INT) RETURNS INT AS $$ SELECT a + b; $$ LANGUAGE sql;
""",
        [
            ("class", "items", "What is sold."),
            ("class", "cheap", ""),
            ("function", "add_two", "Adds."),
        ],
    ),
    "julia": (
        r"""
module Shop
"Adds two numbers."
function add(a, b)
    a + b
end
# Twice as much.
twice(x) = 2x
struct Item
    name
end
macro say(x) end
end
""",
        [
            ("function", "Shop.add", "Adds two numbers."),
            ("function", "Shop.twice", "Twice as much."),
            ("class", "Shop.Item", ""),
            ("function", "Shop.say", ""),
        ],
    ),
    "haskell": (
        r"""
module Shop where
-- | One thing.
data Item = Item { name :: String }
-- | Adds two numbers.
add :: Int -> Int -> Int
add 0 b = b
add a b = a + b
class Sold a where
  sell :: a -> Int
""",
        [
            ("class", "Item", "One thing."),
            ("function", "add", "Adds two numbers."),
            ("class", "Sold", ""),
            ("method", "Sold.sell", ""),
        ],
    ),
}
